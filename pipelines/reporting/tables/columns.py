"""The metrics that several tables show, each with the same words, unit and decimals everywhere."""

from pipelines.reporting.tables.markdown import Column

TEST_ERROR = Column("test_error", "Test error", "%", 2)
DRAWDOWN = Column("drawdown", "Drawdown", "points", 2)
SUCCESS = Column("success_rate", "Success", "%", 1)
STEPS = Column("num_steps", "Steps", "", 2)
GENERALITY = Column("generality", "Generality", "%", 1)
GENERALITY_BEFORE = Column("generality_before", "before the edit", "%", 1)
BLEU = Column("bleu", "BLEU", "", 2)
BLEU_DRAWDOWN = Column("bleu_drawdown", "BLEU drawdown", "points", 2)

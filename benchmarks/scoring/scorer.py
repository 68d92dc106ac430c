"""The scorer of a classifier: it makes edits and writes a record of each. Aggregates come later."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

import editors
from benchmarks.control_set import control_set
from benchmarks.data.corruptions import taken_again
from benchmarks.data.dataset import Dataset, Split
from benchmarks.networks.model_split import activations
from benchmarks.scoring.edited_part import EditedPart
from benchmarks.scoring.ranks import ranks
from benchmarks.scoring.requests import Demand, EditRequests
from benchmarks.scoring.side_effects import CORRUPTED_SHARE, CORRUPTION, FIELDS, SideEffects, on_control
from benchmarks.seeds import generator
from editors.devices import finish, sent

GENERALITY_COPIES = 5
"""Other pictures of the thing on the edited image, on which generality is counted."""
_CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
# On a CPU a few times a core's cache; from 32 MiB on, the C library asks the system anew for every activation, and
# fetching those pages takes a third of the time.


@dataclass(frozen=True, kw_only=True)
class EditOutcome:
    """The effects of one edit. Counts are kept as counts, so that every metric can be recomputed exactly.

    :ivar edit: number of the request.
    :ivar image: position of the edited image among those that are edited; ``label`` its true class.
    :ivar predicted: the model's answer before the edit; the request is ``trivial`` if that is the target already.
    :ivar loss: ``l_e`` after the edit.
    :ivar control_images: control images that there are.
    :ivar control_size: those of them that were looked at, ``wrong_before`` and ``wrong_after`` of these misclassified,
        ``flips`` with another answer than before.
    :ivar kl: mean KL(p(y|x,θ) ‖ p(y|x,θ̂)) over the control images, in nats.
    :ivar views: other pictures of the edited thing that were looked at (:data:`GENERALITY_COPIES`, or 0);
        ``views_before`` and ``views_after`` of them are assigned to the target.

    """

    edit: int
    image: int
    label: int
    target: int
    predicted: int
    trivial: bool
    succeeded: bool
    steps: int
    loss: float
    control_images: int
    control_size: int
    wrong_before: int
    wrong_after: int
    flips: int
    kl: float
    views: int
    views_before: int
    views_after: int


@dataclass(frozen=True, kw_only=True)
class EditRecord(SideEffects, EditOutcome):
    """The effects of one edit; where there are no views, as in tuning, only ``broken`` of the side effects is known and
    the others are 0.
    """


@dataclass(frozen=True)
class Outputs:
    """A model's answers on the control images: ``labels (N,)`` and ``log_probabilities (N, C)``."""

    labels: Tensor
    log_probabilities: Tensor


class Scorer(EditedPart):
    """Makes edits of one model and looks at their effects on a split: by default the one whose images are edited.

    Everything that no edit can change is computed once: activations at the input of the edited layers, for the edited
    images, other pictures of them and the control images, and the model's answers before.

    :param layers: name of the editable part, ``all`` for the whole model.
    :param images: the control set, of which edits should leave the answers as they are.
    :param requests: of images of ``edited``, which are those of ``images`` if it is None.
    :param control_size: control images per edit, a fresh subset for each; None for the whole split.
    :param views: augmented copies of the edited image that must get the target too, none of them among the pictures on
        which generality is counted; None for none. Neither this nor ``margin``, of the target's logit above all others,
        changes what counts as success: the edited image gets the target.
    :param cache_bytes: most memory for activations of the control images; beyond it they are computed anew each time.
        None for no limit.
    :param chunk_bytes: most memory for one activation: as many images at a time go through the network (one at least).
        None for what is fastest on the model's device.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str,
        dataset: Dataset,
        images: Split,
        requests: EditRequests,
        *,
        edited: Split | None = None,
        control_size: int | None = None,
        views: int | None = None,
        margin: float = 0.0,
        cache_bytes: int | None = None,
        chunk_bytes: int | None = None,
    ) -> None:
        super().__init__(model, layers, dataset, Demand(views, margin))
        device = next(model.parameters()).device
        self.requests = requests
        self.control_size = control_size
        self._raw, self._apart = images, edited is not None
        edited = images if edited is None else edited
        self._images, self._true = edited.images, edited.labels
        features, largest = _look(self._front.prefix, dataset.inputs(images.images[:1].to(device)))
        most = chunk_bytes or _CHUNK_BYTES.get(device.type, _CHUNK_BYTES["cpu"])
        self._at_once = max(1, most // largest)
        self._chunk = max(1, most // _look(self.model, features)[1])
        self._labels = images.labels.to(device)
        self._cached = cache_bytes is None or features.nbytes * len(images) <= cache_bytes
        self._control = self.inputs(images.images) if self._cached else images.images.to(device)
        self._before = answers(self._predict_control(self.model, None))
        self._wrong = self._before.labels != self._labels
        self._edited = self.inputs(edited.images[requests.images])
        # Of the same images among the control ones, the answers are at hand.
        known = self._before.labels[requests.images.to(device)] if edited is images else None
        self._predicted = answers(self._predict(self.model, self._edited)).labels if known is None else known
        self._make_copies = partial(_taken_again, dataset, edited, requests)

    def edit(self, editor: editors.Editor, rows: Sequence[int]) -> tuple[list[editors.Edit], float]:
        """Carry out the requests ``rows``; also returns milliseconds per edit."""
        asked = [self._request(row) for row in rows]
        finish(self._labels.device)  # what was asked of a GPU before is not part of the edits' time
        began = time.perf_counter()
        edits = editor.edit_many(self.model, asked, layers=self.layers)
        finish(self._labels.device)
        milliseconds = 1e3 * (time.perf_counter() - began) / len(rows)
        return [self._judged(row, edit) for row, edit in zip(rows, edits, strict=True)], milliseconds

    def _request(self, row: int) -> editors.Request:
        image = self._images[self.requests.images[row]].unsqueeze(0)
        return self._asked(image, self._edited[row : row + 1], self.requests.targets[row], self.requests.seeds[row])

    def _judged(self, row: int, edit: editors.Edit) -> editors.Edit:
        return self._demand.judged(edit, self._edited[row : row + 1], self.requests.targets[row])

    @property
    def examples(self) -> int:
        """The number of images of the whole split."""
        return len(self._labels)

    @property
    def classes(self) -> int:
        """The number of classes of the dataset."""
        return len(self._dataset.classes)

    def described(self) -> dict[str, Any]:
        """The answers of the unedited model on the whole split, for the description of records."""
        wrong = " ".join(map(str, self.wrong_before))  # one line in JSON, not one each
        return {"test_images": self.examples, "wrong_before_editing": wrong}

    def columns(self) -> dict[str, Sequence[int]]:
        """Further columns of records: of images apart from the split, the rank of the target before the edit."""
        return {"rank": self.ranks.tolist()} if self._apart else {}

    @property
    def labels(self) -> Tensor:
        """True classes of the whole split ``(N,)``."""
        return self._labels

    @property
    def before(self) -> Outputs:
        """The unedited model's answers on the whole split."""
        return self._before

    def after(self, edit: editors.Edit) -> Outputs:
        """The edited model's answers on the whole split."""
        return self._before if edit.unchanged else answers(self._predict_control(edit, None))

    @cached_property
    def ranks(self) -> Tensor:
        """The number of classes that the unedited model holds for likelier than each target: int64 ``(E,)``."""
        return ranks(self._predict(self.model, self._edited), self.requests.targets.to(self._labels.device)).cpu()

    @property
    def wrong_before(self) -> list[int]:
        """Positions of the images of the whole split that the unedited model gets wrong, in order."""
        return self._wrong.nonzero().flatten().tolist()

    def record(self, row: int, edit: editors.Edit, *, generality: bool = True, every: bool = False) -> EditRecord:
        """The record of the edit of request ``row``, see :meth:`records`."""
        return self.records([row], [edit], generality=generality, every=every)[0]

    def records(
        self, rows: Sequence[int], edits: Sequence[editors.Edit], *, generality: bool = True, every: bool = False
    ) -> list[EditRecord]:
        """The records of the edits of requests ``rows``: what they do to control images and to copies of their own.

        A GPU is waited for once, at the end.

        :param generality: look at the other pictures as well, and at side effects; without, records have neither but
            for ``broken``, as in tuning.
        :param every: look at the whole split, whatever ``control_size`` is.
        """
        size = len(self._labels) if every or self.control_size is None else min(self.control_size, len(self._labels))
        pairs = list(zip(rows, edits, strict=True))
        counts = torch.stack([self._counts(row, edit, size, generality) for row, edit in pairs]).tolist()
        return [
            self._record(row, edit, size, generality, *found) for (row, edit), found in zip(pairs, counts, strict=True)
        ]

    def _counts(self, row: int, edit: editors.Edit, size: int, generality: bool) -> Tensor:
        """The numbers of a record that the model's device has to find out, in the order of :meth:`_record`."""
        target, device = int(self.requests.targets[row]), self._labels.device
        chosen = control_set(len(self._labels), size, self.requests.seeds[row])
        if chosen is not None:
            chosen = sent(chosen, device)
        before, labels = _pick(self._before, chosen), _at(self._labels, chosen)
        none = labels.new_zeros(())  # filled on the device, where a number from here would be waited for
        views_before = views_after = (self._copies_before[row] == target).sum() if generality else none
        after, divergence = before, none
        corrupted = corrupted_after = self._corrupted_before if generality else none
        if not edit.unchanged:
            more = torch.cat([self._copies[row], self._corrupted[0]]) if generality else None
            found = answers(self._predict_control(edit, chosen, more))
            after, others = _pick(found, slice(len(labels))), found.labels[len(labels) :]
            divergence = kl(before, after).mean()
            if generality:
                views_after = (others[:GENERALITY_COPIES] == target).sum()
                corrupted_after = (others[GENERALITY_COPIES:] != self._corrupted[1]).sum()
        wrong_before, wrong_after = (before.labels != labels).sum(), (after.labels != labels).sum()
        flips, loss = (after.labels != before.labels).sum(), edit.loss.detach().to(device)
        values = (self._predicted[row], loss, wrong_before, wrong_after, flips, divergence, views_before, views_after)
        exact = torch.stack([value.double() for value in values])  # also for counts
        if not generality:
            broken = ((after.labels != labels) & (before.labels == labels)).sum()
            return torch.cat([exact, broken.double()[None], exact.new_zeros(len(FIELDS) - 1)])
        beside = on_control(before.log_probabilities, after.log_probabilities, labels)
        sizes = torch.stack([torch.full_like(none, len(self._corrupted[1])), corrupted, corrupted_after]).double()
        return torch.cat([exact, beside, sizes])

    def _record(
        self, row: int, edit: editors.Edit, size: int, generality: bool, predicted: float, loss: float, *counts: float
    ) -> EditRecord:
        image, target = int(self.requests.images[row]), int(self.requests.targets[row])
        wrong_before, wrong_after, flips, divergence, views_before, views_after, *beside = counts
        return EditRecord(
            edit=row,
            image=image,
            label=int(self._true[image]),
            target=target,
            predicted=int(predicted),
            trivial=predicted == target,
            succeeded=edit.succeeded,
            steps=edit.steps,
            loss=loss,
            control_images=len(self._labels),
            control_size=size,
            wrong_before=int(wrong_before),
            wrong_after=int(wrong_after),
            flips=int(flips),
            kl=divergence,
            views=GENERALITY_COPIES if generality else 0,
            views_before=int(views_before),
            views_after=int(views_after),
            **{
                field.name: int(value) if field.type == "int" else value
                for field, value in zip(fields(SideEffects), beside, strict=True)
            },
        )

    @cached_property
    def _copies(self) -> Tensor:
        """Activations of the other pictures ``(E, GENERALITY_COPIES, ...)``; tuning never asks for them."""
        return self.inputs(self._make_copies()).unflatten(0, (-1, GENERALITY_COPIES))

    @cached_property
    def _copies_before(self) -> Tensor:
        return answers(self._predict(self.model, self._copies.flatten(0, 1))).labels.view(-1, GENERALITY_COPIES)

    @cached_property
    def _corrupted(self) -> tuple[Tensor, Tensor]:
        """Activations of corrupted copies of some images of the split ``(M, ...)``, and their true classes ``(M,)``."""
        size = self.control_size or len(self._raw)
        count = min(len(self._raw), max(1, round(CORRUPTED_SHARE * size)))
        source = generator(self.requests.seeds[0], "corrupted")
        some = self._raw.select(torch.randperm(len(self._raw), generator=source)[:count])
        return self.inputs(CORRUPTION.apply(some.images, source)), some.labels.to(self._labels.device)

    @cached_property
    def _corrupted_before(self) -> Tensor:
        """How many of them the unedited model gets wrong."""
        return (answers(self._predict(self.model, self._corrupted[0])).labels != self._corrupted[1]).sum()

    def _predict_control(
        self, edited: nn.Module | editors.Edit, chosen: Tensor | None, more: Tensor | None = None
    ) -> Tensor:
        """Logits for the ``chosen`` control images, or all, and then for the activations ``more``."""
        control = _at(self._control, chosen)
        if self._cached:
            return self._predict(edited, control, more)
        found = [self._predict(edited, self._front(some)) for some in control.split(self._at_once)]
        return torch.cat(found if more is None else [*found, self._predict(edited, more)])

    def _predict(self, edited: nn.Module | editors.Edit, inputs: Tensor, more: Tensor | None = None) -> Tensor:
        """Logits for ``inputs`` and then for ``more``, in chunks and without a graph."""
        parts = list(inputs.split(self._chunk))
        if more is not None:
            parts[-1] = torch.cat([parts[-1], more])
        if isinstance(edited, nn.Module):
            return torch.cat([activations(edited, part, len(part)) for part in parts])
        with torch.no_grad():
            return torch.cat([edited.predict(part) for part in parts])


def kl(before: Outputs, after: Outputs) -> Tensor:
    """KL(p(y|x,θ) ‖ p(y|x,θ̂)) of each image ``(N,)``, in nats."""
    ratio = before.log_probabilities - after.log_probabilities
    return (before.log_probabilities.exp() * ratio).sum(dim=1)


def answers(logits: Tensor) -> Outputs:
    """Logits as answers. An edit may diverge: nan and ∞ are label -1, no right answer to anything."""
    labels = logits.argmax(dim=1).masked_fill(~(logits < torch.inf).all(dim=1), -1)
    return Outputs(labels, logits.log_softmax(dim=1))


def shards(count: int, size: int) -> Iterator[range]:
    """Numbers below ``count`` in runs of ``size``, which are kept one by one when an evaluation is interrupted."""
    yield from (range(begin, min(begin + size, count)) for begin in range(0, count, size))


def _taken_again(dataset: Dataset, images: Split, requests: EditRequests) -> Tensor:
    copies = [
        taken_again(
            images.images[image].expand(GENERALITY_COPIES, *images.images.shape[1:]),
            dataset.augmentation,
            generator(request_seed, "views"),
        )
        for image, request_seed in zip(requests.images.tolist(), requests.seeds, strict=True)
    ]
    return torch.cat(copies)


def _look(model: nn.Module, one: Tensor) -> tuple[Tensor, int]:
    """The outputs of ``model`` for ``one (1, ...)`` input, and bytes of the largest tensor on the way there."""
    sizes = [one.nbytes]

    def look(module: nn.Module, inputs: object, outputs: object) -> None:
        if isinstance(outputs, Tensor):
            sizes.append(outputs.nbytes)

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        outputs = activations(model, one)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, max(sizes)


def _at(values: Tensor, chosen: Tensor | slice | None) -> Tensor:
    return values if chosen is None else values[chosen]


def _pick(outputs: Outputs, chosen: Tensor | slice | None) -> Outputs:
    return Outputs(_at(outputs.labels, chosen), _at(outputs.log_probabilities, chosen))

"""The words of the toy corpus, German beside English; ``|`` separates translations that a translator chooses from."""

from functools import cache

PEOPLE = """
    Mann     m Männer       man      men      he
    Frau     f Frauen       woman    women    she
    Kind     n Kinder       child    children it
    Junge    w Jungen       boy      boys     he
    Mädchen  n Mädchen      girl     girls    she
    Lehrer   m Lehrer       teacher  teachers he
    Lehrerin f Lehrerinnen  teacher  teachers she
    Arzt     m Ärzte        doctor   doctors  he
    Ärztin   f Ärztinnen    doctor   doctors  she
    Nachbar  w Nachbarn     neighbour neighbours he
    Freund   m Freunde      friend   friends  he
    Freundin f Freundinnen  friend|girlfriend friends|girlfriends she
    Koch     m Köche        cook|chef cooks|chefs he
    Student  w Studenten    student  students he
    Bruder   m Brüder       brother  brothers he
    Schwester f Schwestern  sister   sisters  she
    Hund     m Hunde        dog      dogs     he
    Katze    f Katzen       cat      cats     she
    Vogel    m Vögel        bird     birds    it
    Pferd    n Pferde       horse    horses   it
"""
"""German, gender (``w``: masculine and weak), plural, English, plural, pronoun."""

THINGS = """
    Tür       f Türen      door     doors     it opened
    Fenster   n Fenster    window   windows   it opened
    Koffer    m Koffer     suitcase suitcases it opened,carried
    Tasche    f Taschen    bag|pocket bags|pockets it opened,carried
    Schloss   n Schlösser  castle|lock castles|locks it opened
    Geschenk  n Geschenke  present|gift presents|gifts it opened,carried,given
    Brief     m Briefe     letter   letters   it opened,read,given
    Buch      n Bücher     book     books     it read,given,carried
    Zeitung   f Zeitungen  newspaper|paper newspapers|papers it read,given
    Apfel     m Äpfel      apple    apples    it eaten,given
    Kuchen    m Kuchen     cake     cakes     it eaten,given
    Birne     f Birnen     pear|bulb pears|bulbs it eaten
    Auto      n Autos      car      cars      it mended
    Fahrrad   n Fahrräder  bicycle|bike bicycles|bikes it mended
    Lampe     f Lampen     lamp     lamps     it mended,carried
    Stuhl     m Stühle     chair    chairs    it mended,carried
    Uhr       f Uhren      clock|watch clocks|watches it mended,given
    Bild      n Bilder     picture|painting pictures|paintings it given,carried
    Schlüssel m Schlüssel  key      keys      it given,carried
    Mantel    m Mäntel     coat     coats     it carried
"""
"""As above, and what can be done with it."""

PLACES = """
    in     Garten  m garden   in
    in     Küche   f kitchen  in
    in     Stadt   f city|town in
    in     Schule  f school   in|at
    in     Wald    m forest|wood in
    in     Laden   m shop|store in
    auf    Tisch   m table    on
    auf    Straße  f street|road on|in
    auf    Bank    f bench    on
    vor    Haus    n house    in_front_of
    hinter Kirche  f church   behind
    neben  Schloss n castle   next_to|beside
    neben  Bank    f bank|bench next_to|beside
"""
"""Preposition (with the dative), noun, gender, English noun, English preposition."""

ADJECTIVES = """
    klein   small|little  both
    groß    big|tall|large both
    alt     old           both
    jung    young         person
    müd     tired         person
    nett    nice|kind     person
    lustig  funny         person
    reich   rich          person
    ruhig   quiet|calm    person
    neu     new           thing
    schön   beautiful|nice both
    rot     red           thing
    grün    green         thing
    schwarz black         both
    schwer  heavy         thing
    teur    expensive     thing
"""
"""Stem, English, what it describes."""

VERBS = """
    sehen      sieht     sehen     gesehen      hat -   see      sees      saw      seen      person,thing
    suchen     sucht     suchen    gesucht      hat -   look_for looks_for looked_for looked_for person,thing
    finden     findet    finden    gefunden     hat -   find     finds     found    found     person,thing
    vergessen  vergisst  vergessen vergessen    hat -   forget   forgets   forgot   forgotten person,thing
    kennen     kennt     kennen    gekannt      hat -   know     knows     knew     known     person
    rufen      ruft      rufen     gerufen      hat an  call|phone calls|phones called|phoned called|phoned person
    holen      holt      holen     geholt       hat ab  pick_up  picks_up  picked_up picked_up person
    laden      lädt      laden     geladen      hat ein invite   invites   invited  invited   person
    lachen     lacht     lachen    gelacht      hat aus laugh_at laughs_at laughed_at laughed_at person
    machen     macht     machen    gemacht      hat auf open     opens     opened   opened    opened
    machen     macht     machen    gemacht      hat zu  close|shut closes|shuts closed|shut closed|shut opened
    lesen      liest     lesen     gelesen      hat -   read     reads     read     read      read
    lesen      liest     lesen     gelesen      hat vor read_out reads_out read_out read_out  read
    essen      isst      essen     gegessen     hat -   eat      eats      ate      eaten     eaten
    essen      isst      essen     gegessen     hat auf eat_up   eats_up   ate_up   eaten_up  eaten
    kaufen     kauft     kaufen    gekauft      hat -   buy      buys      bought   bought    thing
    verkaufen  verkauft  verkaufen verkauft     hat -   sell     sells     sold     sold      thing
    bringen    bringt    bringen   gebracht     hat mit bring    brings    brought  brought   thing
    heben      hebt     heben     gehoben     hat auf pick_up|keep picks_up|keeps picked_up|kept picked_up|kept carried
    tragen     trägt     tragen    getragen     hat -   carry    carries   carried  carried   carried
    reparieren repariert reparieren repariert   hat -   repair|fix repairs|fixes repaired|fixed repaired|fixed mended
    helfen     hilft     helfen    geholfen     hat -   help     helps     helped   helped    dative
    folgen     folgt     folgen    gefolgt      ist -   follow   follows   followed followed  dative
    danken     dankt     danken    gedankt      hat -   thank    thanks    thanked  thanked   dative
    hören      hört      hören     gehört       hat zu  listen_to listens_to listened_to listened_to dative
    geben      gibt      geben     gegeben      hat -   give     gives     gave     given     gift
    geben      gibt      geben     gegeben      hat zurück give_back gives_back gave_back given_back gift
    zeigen     zeigt     zeigen    gezeigt      hat -   show     shows     showed   shown     gift
    schlafen   schläft   schlafen  geschlafen   hat -   sleep    sleeps    slept    slept     -
    schlafen   schläft   schlafen  geschlafen   ist ein fall_asleep falls_asleep fell_asleep fallen_asleep -
    kommen     kommt     kommen    gekommen     ist an  arrive   arrives   arrived  arrived   -
    stehen     steht     stehen    gestanden    ist auf get_up   gets_up   got_up   got_up    -
    laufen     läuft     laufen    gelaufen     ist -   run|walk runs|walks ran|walked run|walked -
    lachen     lacht     lachen    gelacht      hat -   laugh    laughs    laughed  laughed   -
    warten     wartet    warten    gewartet     hat -   wait     waits     waited   waited    -
    arbeiten   arbeitet  arbeiten  gearbeitet   hat -   work     works     worked   worked    -
"""
"""Infinitive, he …, they …, participle, its auxiliary, separable prefix; English likewise; what it governs."""

TIMES = """
    heute          today              any
    jetzt          now                present
    oft            often              any
    jeden_Tag      every_day          present
    am_Abend       in_the_evening     any
    am_Morgen      in_the_morning     any
    manchmal       sometimes          any
    gestern        yesterday          past
    vor_einer_Woche a_week_ago        past
"""
MODALS = """
    kann können can     can
    muss müssen must|has_to must|have_to
    will wollen wants_to want_to
    darf dürfen may     may
"""
CONJUNCTIONS = """
    weil    because|since
    obwohl  although|though
    während while
    bevor   before
    wenn    when|if
"""


@cache
def rows(table: str) -> list[tuple[str, ...]]:
    """The words of each line, in columns; ``_`` stands for a blank inside of one."""
    return [tuple(word.replace("_", " ") for word in line.split()) for line in table.strip().splitlines()]

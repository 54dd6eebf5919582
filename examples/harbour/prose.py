"""The report's prose."""

from __future__ import annotations

from harbour import facts

CONTENTS = (
    ("From the harbour master", "a late harvest, a tired crane, and a night without sleep", 3),
    ("Four small stories", "the storm, the lodger, Matilda’s holiday, a piano at sea", 4),
    ("Cargo by terminal and quarter", "grain, timber, boxes and fish", 5),
    ("The box terminal, month by month", "how many, and how long ships wait for a berth", 6),
    ("Staff and wages", "who works here and what a month pays", 7),
    ("Berthing fees", "what a night alongside costs; the levy on the sale of the catch", 8),
    ("The tide gauge", "how high and how low the water stood", 9),
    ("A plan of the harbour", "channels, lights and the fog bell", 10),
    ("From the archive: the keeper’s letter", "what the diver was paid for the fog bell", 11),
    ("Works and accounts", "dredging, shore power, and where the crowns went", 12),
)

NUMBERS = (
    (f"{facts.TOTAL_CARGO / 1000:.2f} m", "tonnes of cargo"),
    (facts.thousands(facts.TOTAL_CALLS), "ships called"),
    (facts.thousands(facts.TOTAL_BOXES), "boxes lifted"),
    (str(facts.PEOPLE), "people on the payroll"),
    ("9.4 m", "depth of the East Channel"),
    ("1", "eider, resident"),
)

MASTER = (
    "There are years in which a harbour is mostly arithmetic. This was not one of them. We moved more than in any year since the "
    f"lock was widened, {facts.thousands(facts.TOTAL_CARGO)} thousand tonnes against {facts.thousands(facts.TOTAL_2024)} thousand "
    "the year before, and I could stop there. The figures by terminal and quarter are on page 5 for readers who like them plain.",
    "The grain came late. A wet June kept the combines in their sheds, and when the sun returned the whole valley cut at once. From "
    "the last days of July until the end of September the lorries stood nose to tail from the Grain Quay to the brewery bridge, and "
    "the baker on Quay Street sold coffee through the cab windows. How many tonnes crossed the quay in those weeks is best read in "
    "the table. I only remember the dust.",
    "In August our oldest crane, Matilda, lost her gearbox and we lost nineteen working days at Saltholm. Ships lay at anchor off "
    "Cat’s Back with nothing to look at but us. I have apologised to the masters in person; most were kind; one asked whether the "
    "crane might be retired before he was. How long they had to wait for a berth is in the drawing on page 6, and I do not enjoy it.",
    "And then the sixth of November, when the water came over the sill of the ice house and did not stop until we had run out of "
    "sandbags and sandwiches. Nobody was hurt. The gauge kept writing through the night; its highest reading is on page 9, and the "
    "story of the night itself on the next page.",
    "My thanks go to the sixty-six people of this office, above all to Ingrid Solberg, who threw her last line in October after "
    "forty-one years on the quays and has, by her own estimate, caught all but three.",
)

STORIES = (
    (
        "The night of the sixth",
        "At nine in the evening the barometer in the lock house had fallen so far that Pauli Graf tapped the glass to see whether it "
        "was broken. It was not. By eleven the swell was running up Quay Street, and the crew of the pilot boat carried eleven cats "
        "and one protesting verger out of the net lofts. The water stood four fingers above the sill of the ice house when it turned, "
        "a little before midnight. How high that is in centimetres only the gauge can say.",
    ),
    (
        "The lodger in the bell-cote",
        "On the twenty-eighth of April a common eider chose the bell-cote of the auction hall and laid five eggs against the clapper. "
        "Nobody had the heart to ring. For a month the bidding opened not at seven but when old Nils Brandt had walked down all the "
        "stalls with a hand lamp, which took him until half past eight, because he stopped to talk. On the twenty-seventh of May she "
        "led four ducklings down the slip, and the buyers took off their hats.",
    ),
    (
        "Matilda’s holiday",
        "The crane is sixty-one and has opinions. On the fourth of August she stopped with a container of garden chairs in the air and "
        "would not be persuaded. The makers had closed in 1988; the drawings were found in a school attic in Vanna, under a stuffed "
        "pike. A foundry cut new gears in nineteen days. The chairs, still hanging, were by then the best-known chairs in the county, "
        "and the shop that had ordered them sold out in a morning.",
    ),
    (
        "A piano at sea",
        "The island school had waited two years for its instrument. The ferry had room on the Tuesday boat, on deck, under a tarpaulin, "
        "between a calf and a pallet of roof tiles. Off the Skerry the tarpaulin blew away, and Miss Hald, who teaches the upper forms, "
        "played the passengers home against the rain so that the keys should not stand open for nothing. The tuner says that it is "
        "flat by a third, and that he has been asked to leave it so.",
    ),
)

CARGO = (
    "Weights are thousands of tonnes over the quay, in and out together. The third quarter at Saltholm shows the nineteen days "
    "without Matilda; the third and fourth at the Grain Quay show a harvest that came late and all at once.",
    "Timber fell a little for the second year: the sawmill at Orrefors now sends its planed boards by rail, and only the long logs "
    "still float down. The Fish Dock is small in tonnes and large in affection. Its landings rose by a tenth, most of it mackerel.",
)

BOXES = (
    f"Saltholm lifted {facts.thousands(facts.TOTAL_BOXES)} boxes, counted as twenty-foot units. The drawing gives each month: the "
    "columns are boxes, the line is the mean number of hours that a ship lay at anchor before a berth was free.",
    "Four to six hours is what we promise and mostly what we keep. Two months broke that promise, one by a gearbox and the "
    "other by weather; a third took its time to recover.",
    "The figures are printed in the drawing and nowhere else, since the clerk who used to type them out has, with our blessing, "
    "gone to sea.",
)

STAFF = (
    f"At the end of December the office had {facts.PEOPLE} people. Wages are crowns a month before tax, the same for everyone in a "
    "role whatever their years; long service is paid in days, one more day of leave for every five years.",
    "Two pilots took their licence this year, both from among our own linesmen. Five apprentices learn the trade at three quays in "
    "turn, and one of them, Jonas Ek, rebuilt the clock in the lock house without being asked.",
)

FEES = (
    "Berthing fees are crowns a night for one hull, by length overall. They include water, rubbish and the use of the showers behind the "
    "sail loft. Power from the quay is 0.35 crowns a kilowatt-hour. The day begins at noon; a ship that waits at anchor pays nothing.",
    "<b>Free nights.</b> Ships carrying freight under sail. Any ship in distress. Every ship that lies here on Fog Bell Day, "
    "the third of May.",
    "<b>Levy on the sale of the catch.</b> Fish sold at the auction bears a levy of 1.8 per cent, taken from the seller each "
    "morning when the sale closes. Fish given away bears none, and much is given away.",
    "<b>Late payers.</b> After thirty days a reminder; after sixty, a visit from the harbour master, who will bring cake.",
)

TIDES = (
    "The gauge stands in the well under the lock house and has written a line on paper since 1887. Heights are centimetres "
    "above chart datum. Times are those of the harbour clock.",
    "The greatest height before this year was 398, in January 1976; a brass plate in the lock house marks it, and a second plate "
    "has been ordered. The mean level of the year is the fourth highest in the book. All four fall after 2015.",
)

PLAN = (
    "Depths are metres at lowest water. The East Channel was dredged to 9.4 m in May and June. "
    "The fog bell hangs on Skerry Light: it was lost in the gale of 1949 and brought up by the diver Tobias Rehn. "
    "What was agreed with him is in the keeper’s letter, overleaf, and not on this plan.",
)

WORKS = (
    "The largest work was the East Channel. It came in under its estimate because the dredger found clean sand, which the county "
    "bought for the beach at Vanna. The costliest surprise was a set of gears.",
)

COLOPHON = (
    "Lindholm, its port, its people and its eider are invented. Text, tables and drawings of this report are dedicated to the public "
    "domain (CC0 1.0). Set in EB Garamond and Lato."
)

LETTER = """\
SKERRY LIGHT, 14th March 1951

To the Harbour Office, Lindholm


Sirs,

You ask what became of the fog bell, and what
I promised to the man who brought it up.

The bell went overboard in the gale of the 9th
of December 1949, when the buoy boat was laid on
her beam ends. It lay in eleven fathoms off the
Cat's Back for fourteen months, and all that
while we blew a horn by mouth.

On the 20th of February the diver Tobias Rehn
went down three times. On the third he had a
chain round the crown of it, and the ketch ANNA
hove it up by noon. It is cracked at the lip for
a hand's breadth, but it rings.

Rehn would take no money. He was paid with two
barrels of salt herring, a pair of sea boots,
and my promise that the bell be rung each year
on his birthday, the third of May. I beg the
Office to keep that promise when I am gone.

Coal is low. Kindly send six sacks, and glass
for the lamp.

               Your obedient servant,



               J. Aalberg, Keeper
"""

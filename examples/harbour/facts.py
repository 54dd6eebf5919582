"""Every number of the report, stated once; pages and chart are made from these, so they agree with one another."""

from __future__ import annotations

QUARTERS = ("Jan–Mar", "Apr–Jun", "Jul–Sep", "Oct–Dec")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

CARGO = {  # thousand tonnes a quarter
    "Grain Quay": (212, 148, 301, 387),
    "Timber Wharf": (96, 118, 131, 87),
    "Saltholm Terminal": (341, 356, 298, 372),
    "Fish Dock": (11, 19, 23, 14),
}
CARGO_2024 = {"Grain Quay": 981, "Timber Wharf": 447, "Saltholm Terminal": 1242, "Fish Dock": 61}
CALLS = (298, 331, 362, 327)  # ships a quarter

BOXES = (9140, 8870, 9410, 9620, 9380, 9050, 8760, 6120, 8930, 9870, 8240, 9560)  # containers (TEU) a month
WAITING = (5.1, 5.4, 4.8, 4.6, 5.0, 5.3, 5.9, 14.6, 9.1, 6.0, 8.3, 5.5)  # mean hours a ship waited for a berth

STAFF = (  # role, people, crowns a month
    ("Harbour master", 1, 6400),
    ("Pilots", 9, 5150),
    ("Divers", 3, 4760),
    ("Crane drivers", 14, 4380),
    ("Keepers of the lights and the gauge", 2, 3980),
    ("Lock keepers", 6, 3720),
    ("Office", 8, 3640),
    ("Linesmen", 18, 3460),
    ("Apprentices", 5, 2150),
)

FEES = (  # length overall, crowns a night October-April, May-September
    ("up to 8 m", "14", "22"),
    ("8 to 12 m", "21", "34"),
    ("12 to 16 m", "30", "48"),
    ("16 to 24 m", "52", "81"),
    ("above 24 m, for each metre", "3.60", "5.20"),
)

TIDES = (  # highest water (cm above chart datum), its day and hour, lowest water, mean level
    (318, "14", "02:10", 38, 171),
    (301, "2", "04:35", 29, 168),
    (327, "30", "00:50", 24, 172),
    (309, "27", "13:05", 31, 169),
    (288, "26", "12:40", 40, 166),
    (281, "24", "11:55", 44, 165),
    (284, "12", "14:20", 42, 167),
    (296, "11", "15:00", 35, 169),
    (331, "9", "02:25", 22, 175),
    (347, "8", "13:50", 19, 178),
    (412, "6", "23:40", 57, 186),
    (336, "5", "23:10", 33, 176),
)

WORKS = (  # thousand crowns: planned, spent
    ("Dredging of the East Channel to 9.4 m", 1850, 1792),
    ("Shore power at Saltholm, berths 1 to 3", 740, 765),
    ("New gearbox for the crane Matilda", 0, 318),
    ("Roof of the auction hall", 210, 204),
    ("Oak frame for the fog bell", 45, 41),
)
INCOME = (
    ("Cargo dues", 8420),
    ("Pilotage", 2310),
    ("Berthing fees", 1164),
    ("Rents of sheds and land", 905),
    ("Levy on the sale of the catch", 118),
)
OTHER_SPENDING = (
    ("Upkeep of quays and locks", 2240),
    ("Energy", 610),
    ("Lights and buoys", 385),
    ("Insurance, office, sundries", 497),
)

TOTAL_CARGO = sum(map(sum, CARGO.values()))
TOTAL_2024 = sum(CARGO_2024.values())
TOTAL_CALLS = sum(CALLS)
TOTAL_BOXES = sum(BOXES)
PEOPLE = sum(count for _, count, _ in STAFF)
PAYROLL = sum(count * wage for _, count, wage in STAFF)
SPENT_ON_WORKS = sum(spent for _, _, spent in WORKS)
SPENDING = (
    ("Wages", round(PAYROLL * 12 / 1000)),
    ("Works (table above)", SPENT_ON_WORKS),
    *OTHER_SPENDING,
)
TOTAL_INCOME = sum(value for _, value in INCOME)
TOTAL_SPENDING = sum(value for _, value in SPENDING)


def thousands(value: int) -> str:
    """A whole number with commas."""
    return f"{value:,}"

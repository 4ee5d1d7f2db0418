"""The rides of Kestrel: who rode where, and how a ride goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from server.domain.transaction import Amount, Transaction

if TYPE_CHECKING:
    import random
    from datetime import datetime

CUSTOMERS = [
    ("ada", "Ada Lindqvist", "ada@example.com", "en"),
    ("ben", "Ben Okafor", "ben@example.com", "en"),
    ("chloe", "Chloé Martin", "chloe@example.com", "fr"),
    ("diego", "Diego Ramos", "diego@example.com", "es"),
]
"""Those whom a visitor of the demo may be."""

OTHERS = [
    ("emi", "Emi Tanaka", "emi@example.com", "ja"),
    ("farid", "Farid Haddad", "farid@example.com", "ar"),
    ("greta", "Greta Vogel", "greta@example.com", "de"),
    ("hugo", "Hugo de Vries", "hugo@example.com", "nl"),
    ("ines", "Inês Carvalho", "ines@example.com", "pt"),
    ("jonas", "Jonas Berg", "jonas@example.com", "sv"),
]
"""Those who ask for help by themselves, so that an agent sees life."""

PLACES = [
    "Harbour Street 12",
    "Central Station",
    "Airport, Terminal 2",
    "Old Town Hall",
    "Botanical Garden",
    "University Hospital",
    "Mill Lane 7",
    "Opera House",
    "Riverside Market",
    "Stadium North",
]
DRIVERS = [
    ("Milan", "grey Toyota Corolla", "KS-204-LT"),
    ("Amara", "white Kia Niro", "BT-771-QX"),
    ("Youssef", "blue Skoda Octavia", "RN-018-WD"),
    ("Linh", "black Hyundai Ioniq", "PV-455-HA"),
]

STEPS = ["requested", "driver assigned", "driver arriving", "in progress", "completed"]
"""How a ride goes on. It may also end as `cancelled` or `no show`."""


def past_ride(rng: random.Random, number: int, now: datetime, days_ago: float) -> Transaction:
    """A ride that is over."""
    status = rng.choices(["completed", "cancelled", "no show"], weights=[8, 2, 1])[0]
    return _ride(rng, number, now - timedelta(days=days_ago), status, version=len(STEPS))


def new_ride(rng: random.Random, number: int, now: datetime) -> Transaction:
    """A ride that begins."""
    return _ride(rng, number, now, STEPS[0], version=1)


def next_step(ride: Transaction) -> Transaction | None:
    """The ride one step on; None when it has ended."""
    if ride.status not in STEPS[:-1]:
        return None
    step = STEPS.index(ride.status) + 1
    return msgspec.structs.replace(ride, status=STEPS[step], version=ride.version + 1)


def _ride(rng: random.Random, number: int, at: datetime, status: str, version: int) -> Transaction:
    start, end = rng.sample(PLACES, 2)
    driver, vehicle, plate = rng.choice(DRIVERS)
    minutes = rng.randint(7, 45)
    fare = 0 if status == "no show" else 320 + minutes * 45 + rng.randint(0, 99)
    attributes: dict[str, Any] = {
        "pickup": start,
        "dropoff": end,
        "driver": driver,
        "vehicle": f"{vehicle}, {plate}",
        "minutes": minutes,
        "payment": rng.choice(["Visa ·· 4242", "Mastercard ·· 8210", "Kestrel credit"]),
    }
    return Transaction(
        id=f"ride-{number}",
        version=version,
        kind="ride",
        status=status,
        title=f"{start} → {end}",
        amount=Amount(f"{fare / 100:.2f}", "EUR"),
        occurred_at=at.replace(microsecond=0),
        attributes=attributes,
    )


QUESTIONS = [
    ("Fare", ["Hi! I was charged more than the app said before I got in.", "It said 9.40 and I paid 14.20."]),
    ("Lost item", ["I left my umbrella in the car, a red one. Can you ask the driver?"]),
    ("Driver", ["The driver waited at the wrong entrance and then cancelled.", "Do I have to pay the fee?"]),
    ("Receipt", ["I need a receipt with my company's name on it, please."]),
    ("Payment", ["My card was charged twice for this ride I think."]),
    ("Route", ["We took a big detour, the ride took twice as long as usual."]),
]
THANKS = ["Thank you, that was quick!", "Perfect, thanks for your help.", "Great, that solves it.", "Okay, thank you."]

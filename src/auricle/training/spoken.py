"""Numbers, times and dates as they are spoken."""

from random import Random

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((1_000_000, "million"), (1000, "thousand"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def cardinal(number: int) -> str:
    """Spells 0 to 999,999,999: 342 is "three hundred and forty-two"."""
    if not 0 <= number < 1_000_000_000:
        raise ValueError(f"cannot spell {number}: give a number from 0 to 999999999")
    for scale, word in _SCALES:
        if number >= scale:
            head, rest = divmod(number, scale)
            link = " and " if 0 < rest < 100 else " "
            return f"{cardinal(head)} {word}" + (link + cardinal(rest) if rest else "")
    if number >= 100:
        head, rest = divmod(number, 100)
        return f"{_SMALL[head]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    if number >= 20:
        head, rest = divmod(number, 10)
        return _TENS[head - 2] + (f"-{_SMALL[rest]}" if rest else "")
    return _SMALL[number]


def ordinal(number: int) -> str:
    """Spells a place in an order: 42 is "forty-second"."""
    words = cardinal(number)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[cut:]
    if last in _ORDINALS:
        return words[:cut] + _ORDINALS[last]
    return words[:cut] + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def year(number: int) -> str:
    """Spells a year from 1100 to 2099 as two pairs: 1907 is "nineteen oh seven"."""
    head, rest = divmod(number, 100)
    if head == 20 and rest < 10:
        return "two thousand" + (f" and {cardinal(rest)}" if rest else "")
    if rest == 0:
        return f"{cardinal(head)} hundred"
    return f"{cardinal(head)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def decimal(rng: Random) -> str:
    """A number with one or two digits behind the point: "four point two"."""
    digits = " ".join(_SMALL[rng.randrange(10)] for _ in range(rng.choice((0, 0, 1))))
    return f"{cardinal(rng.randrange(100))} point {digits} {_SMALL[rng.randrange(1, 10)]}".replace("  ", " ")


def number(rng: Random) -> str:
    """A count from two to millions, small and round ones more often."""
    kind = rng.randrange(8)
    if kind < 3:
        return cardinal(rng.randrange(2, 100))
    if kind == 3:
        return cardinal(rng.randrange(101, 1000))
    if kind == 4:
        return cardinal(rng.randrange(1, 100) * 100)
    if kind == 5:
        return cardinal(rng.randrange(2, 1000) * 1000)
    if kind == 6:
        return cardinal(rng.randrange(1001, 20000))
    return cardinal(rng.randrange(2, 90) * 5)


def small(rng: Random) -> str:
    """A count from two to ninety-nine, most often below thirty."""
    return cardinal(rng.randrange(2, rng.choice((12, 30, 100))))


def nth(rng: Random) -> str:
    """An ordinal."""
    return ordinal(rng.randrange(1, rng.choice((10, 32, 100))))


def any_year(rng: Random) -> str:
    """A year from 1500 to 2040, the last hundred more often."""
    return year(rng.randrange(1500, 1900) if rng.random() < 0.3 else rng.randrange(1900, 2041))


def percent(rng: Random) -> str:
    """A percentage: "four point two percent"."""
    return (decimal(rng) if rng.random() < 0.35 else cardinal(rng.randrange(1, 100))) + " percent"


def clock(rng: Random) -> str:
    """A time of day in one of four manners."""
    hour = rng.randrange(1, 13)
    kind = rng.randrange(6)
    if kind == 0:
        return f"{cardinal(hour)} o'clock"
    if kind == 1:
        part = rng.choice(("a quarter", "half", "ten", "twenty", "five", "twenty-five"))
        return f"{part} past {cardinal(hour)}"
    if kind == 2:
        return f"{rng.choice(('a quarter', 'ten', 'twenty', 'five'))} to {cardinal(hour)}"
    minute = rng.choice((15, 30, 45, 10, 20, 40, 50, 55, 25, 35, *range(1, 60)))
    spoken = f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"
    part, hours = rng.choice(
        (
            ("morning", range(1, 12)),
            ("afternoon", (12, *range(1, 6))),
            ("evening", range(5, 12)),
            ("", ()),
            ("", ()),
        )
    )
    return f"{spoken} in the {part}" if hour in hours else spoken


def money(rng: Random) -> str:
    """An amount of money with its currency."""
    currency = rng.choice(("dollars", "dollars", "pounds", "euros", "francs", "rupees", "crowns", "pesos", "yen"))
    if currency in ("dollars", "pounds") and rng.random() < 0.2:
        cents = cardinal(rng.choice((5, 25, 40, 50, 75, 95, 99)))
        return f"{cardinal(rng.randrange(2, 100))} {currency} {cents}"
    return f"{number(rng)} {currency}"


def weekday(rng: Random) -> str:
    """A day of the week."""
    return rng.choice(WEEKDAYS)


def month(rng: Random) -> str:
    """A month."""
    return rng.choice(MONTHS)


def date(rng: Random) -> str:
    """A day of a month: "the third of May" or "May third"."""
    day, name = ordinal(rng.randrange(1, 31)), rng.choice([m for m in MONTHS if m != "February"])
    return f"the {day} of {name}" if rng.random() < 0.5 else f"{name} {day}"


def duration(rng: Random) -> str:
    """A length of time: "forty seconds", "two and a half hours"."""
    if rng.random() < 0.15:
        unit = rng.choice(("hours", "days", "weeks", "years", "minutes"))
        return f"{cardinal(rng.randrange(2, 10))} and a half {unit}"
    unit = rng.choice(
        ("seconds", "minutes", "minutes", "hours", "hours", "days", "days", "weeks", "months", "years")
    )
    return f"{small(rng)} {unit}"


def length(rng: Random) -> str:
    """A length or distance."""
    unit = rng.choice(("millimeters", "centimeters", "inches", "feet", "meters", "yards", "kilometers", "miles"))
    return f"{decimal(rng) if rng.random() < 0.2 else small(rng)} {unit}"


def weight(rng: Random) -> str:
    """A mass."""
    unit = rng.choice(("grams", "kilograms", "tons", "pounds", "ounces"))
    return f"{decimal(rng) if rng.random() < 0.2 else small(rng)} {unit}"


def volume(rng: Random) -> str:
    """An amount of liquid."""
    return f"{small(rng)} {rng.choice(('liters', 'gallons', 'milliliters', 'pints', 'barrels', 'buckets', 'cups'))}"


def temperature(rng: Random) -> str:
    """A temperature in degrees."""
    below = rng.choice(("minus ", "", "", "", ""))
    scale = rng.choice(("", "", " Celsius", " Fahrenheit"))
    return f"{below}{small(rng)} degrees{scale}"


def digits(rng: Random) -> str:
    """Three to seven digits, read one by one."""
    return " ".join(_SMALL[rng.randrange(10)] for _ in range(rng.randrange(3, 8)))


def fraction(rng: Random) -> str:
    """A part of a whole: "two thirds"."""
    top = rng.randrange(1, 5)
    part = rng.choice(("third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"))
    return f"{('one', 'two', 'three', 'four')[top - 1]} {part}{'s' if top > 1 else ''}"

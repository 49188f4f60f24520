"""Public tables for regressions: those of scikit-learn, three classics, and stand-ins.

A stand-in has the size, units and peculiarities of the table that it is named after, and random
values. All are `(X, y)` in float64.
"""

import io

import numpy as np
from sklearn import datasets as sk

# GNP deflator, GNP, unemployed, armed forces, population, year; total employment (Longley, 1967).
_LONGLEY = """
83.0 234289 2356 1590 107608 1947 60323
88.5 259426 2325 1456 108632 1948 61122
88.2 258054 3682 1616 109773 1949 60171
89.5 284599 3351 1650 110929 1950 61187
96.2 328975 2099 3099 112075 1951 63221
98.1 346999 1932 3594 113270 1952 63639
99.0 365385 1870 3547 115094 1953 64989
100.0 363112 3578 3350 116219 1954 63761
101.2 397469 2904 3048 117388 1955 66019
104.6 419180 2822 2857 118734 1956 67857
108.4 442769 2936 2798 120445 1957 68169
110.8 444546 4681 2637 121950 1958 66513
112.6 482704 3813 2552 123366 1959 68655
114.2 502601 3931 2514 125368 1960 69564
115.7 518173 4806 2572 127852 1961 69331
116.9 554894 4007 2827 130081 1962 70551
"""
# Air flow, water temperature, acid concentration; stack loss (Brownlee, 1960).
_STACKLOSS = """
80 27 89 42
80 27 88 37
75 25 90 37
62 24 87 28
62 22 87 18
62 23 87 18
62 24 93 19
62 24 93 20
58 23 87 15
58 18 80 14
58 18 89 14
58 17 88 13
58 18 82 11
58 19 93 12
50 18 89 8
50 18 86 7
50 19 72 8
50 19 79 8
50 20 80 9
56 20 82 15
70 20 91 15
"""
# cyl disp hp drat wt qsec vs am gear carb; mpg (Motor Trend, 1974).
_MTCARS = """
6 160.0 110 3.90 2.620 16.46 0 1 4 4 21.0
6 160.0 110 3.90 2.875 17.02 0 1 4 4 21.0
4 108.0 93 3.85 2.320 18.61 1 1 4 1 22.8
6 258.0 110 3.08 3.215 19.44 1 0 3 1 21.4
8 360.0 175 3.15 3.440 17.02 0 0 3 2 18.7
6 225.0 105 2.76 3.460 20.22 1 0 3 1 18.1
8 360.0 245 3.21 3.570 15.84 0 0 3 4 14.3
4 146.7 62 3.69 3.190 20.00 1 0 4 2 24.4
4 140.8 95 3.92 3.150 22.90 1 0 4 2 22.8
6 167.6 123 3.92 3.440 18.30 1 0 4 4 19.2
6 167.6 123 3.92 3.440 18.90 1 0 4 4 17.8
8 275.8 180 3.07 4.070 17.40 0 0 3 3 16.4
8 275.8 180 3.07 3.730 17.60 0 0 3 3 17.3
8 275.8 180 3.07 3.780 18.00 0 0 3 3 15.2
8 472.0 205 2.93 5.250 17.98 0 0 3 4 10.4
8 460.0 215 3.00 5.424 17.82 0 0 3 4 10.4
8 440.0 230 3.23 5.345 17.42 0 0 3 4 14.7
4 78.7 66 4.08 2.200 19.47 1 1 4 1 32.4
4 75.7 52 4.93 1.615 18.52 1 1 4 2 30.4
4 71.1 65 4.22 1.835 19.90 1 1 4 1 33.9
4 120.1 97 3.70 2.465 20.01 1 0 3 1 21.5
8 318.0 150 2.76 3.520 16.87 0 0 3 2 15.5
8 304.0 150 3.15 3.435 17.30 0 0 3 2 15.2
8 350.0 245 3.73 3.840 15.41 0 0 3 4 13.3
8 400.0 175 3.08 3.845 17.05 0 0 3 2 19.2
4 79.0 66 4.08 1.935 18.90 1 1 4 1 27.3
4 120.3 91 4.43 2.140 16.70 0 1 5 2 26.0
4 95.1 113 3.77 1.513 16.90 1 1 5 2 30.4
8 351.0 264 4.22 3.170 14.50 0 1 5 4 15.8
6 145.0 175 3.62 2.770 15.50 0 1 5 6 19.7
8 301.0 335 3.54 3.570 14.60 0 1 5 8 15.0
4 121.0 109 4.11 2.780 18.60 1 1 4 2 21.4
"""


def _written(text):
    table = np.loadtxt(io.StringIO(text))
    return table[:, :-1], table[:, -1]


def diabetes():
    """In the units of measurement."""
    return sk.load_diabetes(return_X_y=True, scaled=False)


def _small_column():
    x, y = diabetes()
    return x * np.where(np.arange(10) == 6, 1e-6, 1.0), y


def _linnerud():
    found = sk.load_linnerud()
    return found.data, found.target[:, 0]


def _iris():
    x = sk.load_iris().data
    return x[:, :3], x[:, 3]


def _california(rng):
    """Skewed counts, places in degrees, a few districts thousands of times as large as others."""
    n = 1500
    income, age = rng.lognormal(1.2, 0.45, n), rng.integers(1, 53, n)
    rooms, people = rng.lognormal(1.6, 0.3, n), rng.lognormal(7.0, 0.8, n).round()
    latitude, longitude = rng.normal(35.6, 2.1, n), rng.normal(-119.6, 2.0, n)
    occupied = 2.0 + rng.pareto(2.0, n)
    x = [income, age, rooms, 0.2 * rooms + rng.normal(0, 0.1, n), people, occupied]
    return np.column_stack([*x, latitude, longitude]), np.minimum(0.4 * income + 0.3, 5.0)


def _engel(rng):
    income = rng.lognormal(6.8, 0.5, 235)
    return income[:, None], 147.0 + 0.485 * income * (1.0 + rng.normal(0, 0.2, 235))


def _randhie(rng):
    """Logarithms, shares and flags; counts with many zeros."""
    n = 600
    x = [rng.choice([0.0, 3.26, 4.62], n), rng.integers(0, 2, (n, 2)).astype(float)]
    x += [rng.uniform(4.3, 7.2, n), rng.uniform(0, 58.6, n), rng.poisson(0.5, (n, 4))]
    return np.column_stack(x), rng.negative_binomial(1, 0.25, n).astype(float)


def _star98(rng):
    """Percentages and their products, of two and of three."""
    n = 303
    low, ethnic = rng.uniform(5, 95, n), rng.uniform(0, 80, (n, 3))
    pay, years = rng.normal(5.8, 0.6, n) * 10.0, rng.normal(14, 2, n)
    x = np.column_stack([low, ethnic, pay, years, pay * years, low * pay, low * pay * years])
    return x, rng.binomial(450, 0.5, n).astype(float)


def _spector(rng):
    n = 32
    return np.column_stack(
        [rng.normal(3.1, 0.47, n).round(2), rng.integers(12, 30, n), rng.integers(0, 2, n)]
    ), rng.integers(0, 2, n).astype(float)


def _cpunish(rng):
    """17 rows, incomes beside shares, one row far from all others."""
    n = 17
    x = [rng.normal(35_000, 5_000, n), rng.uniform(10, 20, n), rng.uniform(2, 33, n)]
    x += [rng.uniform(300, 1000, n), rng.integers(0, 2, n), rng.normal(0.17, 0.05, n)]
    return np.column_stack(x), np.append(37.0, rng.poisson(1.5, n - 1))


def _sunspots(rng):
    """Years and their squares, which are all but proportional."""
    year = np.arange(1700.0, 2009.0)
    y = 50.0 * (1.0 + np.sin(2 * np.pi * year / 11.0)) + rng.normal(0, 20, len(year))
    return np.column_stack([year, year**2]), y


def _co2(rng):
    """Seconds since 1970, beside waves of size 1."""
    day = np.arange(0, 2284 * 7, 7.0) - 4300.0
    second, season = day * 86_400.0, 2 * np.pi * day / 365.25
    x = np.column_stack([second, second**2, np.sin(season), np.cos(season)])[::4]
    return x, 340.0 + 4e-8 * second[::4] + 3.0 * x[:, 2] + rng.normal(0, 0.5, len(x))


def _grunfeld(rng):
    """A dummy for each of eleven firms, which sum to the intercept's ones."""
    firm = np.repeat(np.arange(11), 20)
    value, capital = rng.lognormal(6.0, 1.3, 220), rng.lognormal(4.6, 1.2, 220)
    x = np.column_stack([value, capital, firm[:, None] == np.arange(11)])
    return x, 0.11 * value + 0.3 * capital + 5.0 * firm + rng.normal(0, 50, 220)


def _filip(rng):
    """Powers of one column, up to the seventh."""
    x = rng.uniform(-8.8, -3.1, 82)
    return x[:, None] ** np.arange(1, 8), np.cos(x) + rng.normal(0, 0.003, 82)


def _fair(rng):
    """Answers in whole numbers, few of them different, and hundreds of equal rows."""
    n = 1200
    x = [rng.integers(1, 6, n), rng.choice([17.5, 22, 27, 32, 37, 42], n)]
    return np.column_stack([*x, rng.integers(0, 6, n), rng.integers(1, 5, n)]), rng.exponential(
        0.7, n
    ) * rng.integers(0, 2, n)


def _stand_in(make, seed):
    return lambda: make(np.random.default_rng(seed))


TABLES = {
    "diabetes": lambda: sk.load_diabetes(return_X_y=True),
    "diabetes with a small column": _small_column,
    "wine": lambda: sk.load_wine(return_X_y=True),
    "breast_cancer": lambda: sk.load_breast_cancer(return_X_y=True),
    "digits": lambda: sk.load_digits(return_X_y=True),
    "iris": _iris,
    "linnerud": _linnerud,
    "longley": lambda: _written(_LONGLEY),
    "stackloss": lambda: _written(_STACKLOSS),
    "mtcars": lambda: _written(_MTCARS),
} | {
    make.__name__[1:]: _stand_in(make, seed)
    for seed, make in enumerate(
        (
            _california,
            _engel,
            _randhie,
            _star98,
            _spector,
            _cpunish,
            _sunspots,
            _co2,
            _grunfeld,
            _filip,
            _fair,
        )
    )
}
"""21 of them."""

//! Parts of dates, by walking through the calendar.

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: usize) -> i64 {
    let leap_day = i64::from(month == 1 && is_leap(year));
    [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month] + leap_day
}

/// What function `name` says of second `t`; `None` where the walk would be long.
pub(crate) fn part(name: &str, t: i64) -> Option<f64> {
    let day = t.div_euclid(86_400);
    if day.abs() > 4_000_000 {
        return None;
    }
    let (mut year, mut left) = (1970, day);
    while left < 0 {
        year -= 1;
        left += 365 + i64::from(is_leap(year));
    }
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let (of_year, mut month) = (left, 0);
    while left >= days_of(year, month) {
        left -= days_of(year, month);
        month += 1;
    }
    let second = t.rem_euclid(86_400);
    Some(match name {
        "minute" => second / 60 % 60,
        "hour" => second / 3600,
        "day_of_week" => (day + 4).rem_euclid(7),
        "day_of_month" => left + 1,
        "day_of_year" => of_year + 1,
        "days_in_month" => days_of(year, month),
        "month" => month as i64 + 1,
        "year" => year,
        other => unreachable!("no date: {other}"),
    } as f64)
}

//! Parts of a date in UTC: `hour`, `day_of_week`, `month` …

#![allow(clippy::unnecessary_wraps, reason = "the signature is that of all functions")]

use super::{Call, Implementation};
use crate::model::Labels;
use crate::promql::columns::{Operand, Series, Vector};
use crate::promql::engine::QueryError;

/// The family's implementations.
pub(super) fn lookup(name: &str) -> Option<Implementation> {
    Some(Implementation::Operands(match name {
        "minute" => |call| each(call, |t| (wrap(t).0.rem_euclid(3600) / 60) as f64),
        "hour" => |call| each(call, |t| (wrap(t).0.rem_euclid(DAY) / 3600) as f64),
        // The epoch was a Thursday; weeks begin on Sunday.
        "day_of_week" => {
            |call| each(call, |t| (wrap(t).0.div_euclid(DAY) + 4).rem_euclid(7) as f64)
        }
        "day_of_month" => |call| each(call, |t| Date::of(t).day as f64),
        "day_of_year" => |call| each(call, |t| Date::of(t).day_of_year() as f64),
        "days_in_month" => |call| each(call, |t| Date::of(t).days_in_month() as f64),
        "month" => |call| each(call, |t| Date::of(t).month as f64),
        "year" => |call| each(call, |t| Date::of(t).year as f64),
        _ => return None,
    }))
}

const DAY: i64 = 86_400;

/// Applies `part` to each value, taken as seconds since the epoch; without an argument to the
/// evaluation time.
fn each(call: &mut Call<'_>, part: impl Fn(i64) -> f64) -> Result<Operand, QueryError> {
    if call.operands.is_empty() {
        let grid = call.grid;
        let column = call.budget.computed(grid.steps, |step| part(grid.time_ms(step) / 1000))?;
        let labels = Labels::empty();
        let series = vec![Series { labels, drop_name: false, column }];
        return Ok(Operand::Vector(Vector { series }));
    }
    let mut vector = call.take_vector(0);
    for series in &mut vector.series {
        call.check()?;
        series.column.drop_histograms();
        call.budget.change(&mut series.column, |column, _| {
            column.map(|value| part(seconds(value)));
        })?;
        series.drop_name(call.delayed_name_removal);
    }
    Ok(Operand::Vector(vector))
}

/// Whole seconds. COMPAT: what no integer holds becomes the least one, as on x86-64.
fn seconds(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

/// A second with the same place in the calendar's cycle of 400 years, and the years it is off by.
///
/// COMPAT: times before the year -292277022399 are 2^64 s later in Go's calendar, which is where
/// infinities and NaN end up.
fn wrap(t: i64) -> (i64, i64) {
    const FIRST: i64 = -9_223_372_028_741_760_000;
    /// 2^64 modulo the seconds of 400 years, and the years of the cycles left out.
    const REST: (i64, i64) = (1_699_513_216, 584_554_049_200);
    if t < FIRST { (t + REST.0, REST.1) } else { (t, 0) }
}

/// A day of the Gregorian calendar, also before it was one.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The day on which second `t` since the epoch is (H. Hinnant, `civil_from_days`).
    fn of(t: i64) -> Self {
        let (t, years) = wrap(t);
        // Days since 0000-03-01, by eras of 400 years.
        let days = t.div_euclid(DAY) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2) + years;
        Self { year, month, day }
    }

    fn is_leap_year(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(&self) -> i64 {
        match self.month {
            2 => 28 + i64::from(self.is_leap_year()),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(&self) -> i64 {
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap_day = i64::from(self.month > 2 && self.is_leap_year());
        BEFORE[self.month as usize - 1] + leap_day + self.day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (t, expected) in [
            (0, (1970, 1, 1, 1, 31)),
            (-1, (1969, 12, 31, 365, 31)),
            (951_782_400, (2000, 2, 29, 60, 29)),
            (4_107_542_400, (2100, 3, 1, 60, 31)),
            (1_735_603_200, (2024, 12, 31, 366, 31)),
            // What Prometheus makes of infinity.
            (seconds(f64::INFINITY), (292_277_026_596, 12, 4, 339, 31)),
        ] {
            let date = Date::of(t);
            let found = (date.year, date.month, date.day, date.day_of_year(), date.days_in_month());
            assert_eq!(found, expected);
        }
    }
}

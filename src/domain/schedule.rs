//! When a schedule is due. croner carries cron; docs/adr/0004 says why.
//!
//! Five fields or a nickname, in the zone of the schedule. Where clocks change, a line that names its hours and minutes goes by
//! the clock on the wall: a time that is left out is due once, at the end of the gap; one that comes twice is due the first time.
//! A line whose minute or hour is a wildcard goes by real time: it is due in both of two hours of the same name, and not in one
//! that does not come (as in Vixie cron).

use std::time::Duration;

use chrono::{DateTime, Days as Later, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use sha2::{Digest, Sha256};

use super::days::Days;
use crate::clock::Timestamp;
use crate::id::Id;

const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// First and last value of each field, for `~`; the 28th is the last day that every month has.
const FIELDS: [(&str, u64, u64); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 28), ("month", 1, 12), ("day of week", 0, 6)];

/// Instants are whole seconds.
const MOMENT: TimeDelta = TimeDelta::seconds(1);
/// The longest that clocks were ever set forward or back: islands that changed the side of the date line left out a day.
const LONGEST: TimeDelta = TimeDelta::hours(25);

/// A cron line that can be asked for its instants.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Tz,
    line: String,
    /// It goes by the clock on the wall, not by real time.
    on_the_wall: bool,
    /// It rests on these.
    except: Vec<Days>,
}

/// Any instant, where a line is judged by itself.
const EXAMPLE: Timestamp = Timestamp(1_700_000_000_000);
/// Instants that are looked at for the shortest time between two: a week of hours.
const GAPS: usize = 168;

/// Rests in a row that are passed over before a schedule counts as one that never comes.
const RESTS: usize = 1_000;

impl Schedule {
    /// `seed` is the job: a `~` in the line always stands for the same value of the same job.
    ///
    /// # Errors
    /// What is wrong with the line and what would be right, for a person.
    pub fn parse(line: &str, zone: Tz, seed: Id) -> Result<Self, String> {
        let line = line.trim();
        let resolved = if line.starts_with('@') {
            if !NICKNAMES.contains(&line) {
                return Err(format!("{line:?} is no nickname; there are {}", NICKNAMES.join(", ")));
            }
            line.to_owned()
        } else {
            spread(line, seed)?
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&resolved).map_err(|wrong| {
            format!("{line:?} is no cron line: {wrong}; write minute hour day-of-month month day-of-week, as in \"30 2 * * *\", or a nickname such as @hourly")
        })?;
        let on_the_wall = resolved != "@hourly" && !resolved.split(' ').take(2).any(|field| field.starts_with('*'));
        let schedule = Self { cron, zone, line: resolved, on_the_wall, except: Vec::new() };
        // "0 0 31 2 *" parses but never comes.
        if schedule.after(EXAMPLE).is_none() {
            return Err(format!("{line:?} never comes: no such day in any month it names"));
        }
        Ok(schedule)
    }

    /// The same, resting on these days of its zone.
    ///
    /// # Errors
    /// When nothing is left of it.
    pub fn except(self, days: &[Days]) -> Result<Self, String> {
        let schedule = Self { except: days.to_vec(), ..self };
        match schedule.after(EXAMPLE) {
            Some(_) => Ok(schedule),
            None => Err(format!("{:?} never comes: every day of it is excepted", schedule.line)),
        }
    }

    /// The first instant after `now` at which it is due; `None` when there is none any more.
    pub fn after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut from = self.zone.timestamp_millis_opt(now.0).single()?;
        for _ in 0..=RESTS {
            let next = if self.on_the_wall { self.wall_after(&from)? } else { self.find(&from, false, true)? };
            let Some((_, last)) = self.rest(next.date_naive()) else { return Some(Timestamp(next.timestamp_millis())) };
            // A moment before the day after: midnight itself may be due.
            from = self.instant(last.checked_add_days(Later::new(1))?.and_time(NaiveTime::MIN))? - MOMENT;
        }
        None
    }

    /// The last instant at or before `now` at which it was due.
    pub fn before(&self, now: Timestamp) -> Option<Timestamp> {
        let mut from = self.zone.timestamp_millis_opt(now.0).single()?;
        for _ in 0..=RESTS {
            let last = if self.on_the_wall { self.wall_before(&from)? } else { self.find(&from, true, false)? };
            let Some((first, _)) = self.rest(last.date_naive()) else { return Some(Timestamp(last.timestamp_millis())) };
            from = self.instant(first.and_time(NaiveTime::MIN))? - MOMENT;
        }
        None
    }

    fn find<Z: TimeZone>(&self, from: &DateTime<Z>, inclusive: bool, forward: bool) -> Option<DateTime<Z>> {
        let found = if forward {
            self.cron.find_next_occurrence(from, inclusive)
        } else {
            self.cron.find_previous_occurrence(from, inclusive)
        };
        found.ok()
    }

    /// Times on the wall come in the order of their instants, so the first whose instant lies after is the one.
    fn wall_after(&self, now: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        let mut wall = (now.naive_local() - LONGEST).and_utc();
        loop {
            wall = self.find(&wall, false, true)?;
            match self.instant(wall.naive_utc())? {
                at if at > *now => return Some(at),
                _ => {}
            }
        }
    }

    fn wall_before(&self, now: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        let mut wall = (now.naive_local() + LONGEST).and_utc();
        loop {
            wall = self.find(&wall, false, false)?;
            match self.instant(wall.naive_utc())? {
                at if at <= *now => return Some(at),
                _ => {}
            }
        }
    }

    /// When the clocks of the zone show this: the first time, or at the end of the gap that leaves it out.
    fn instant(&self, wall: NaiveDateTime) -> Option<DateTime<Tz>> {
        let minutes = (0..=LONGEST.num_minutes()).map(|n| wall + TimeDelta::minutes(n));
        minutes.filter_map(|at| self.zone.from_local_datetime(&at).earliest()).next()
    }

    /// First and last of the days it rests on, if this is one of them.
    fn rest(&self, day: NaiveDate) -> Option<(NaiveDate, NaiveDate)> {
        self.except.iter().find(|days| days.has(day)).map(|days| days.bounds(day))
    }

    /// The next `n` instants after `now`.
    pub fn next(&self, now: Timestamp, n: usize) -> Vec<Timestamp> {
        std::iter::successors(self.after(now), |at| self.after(*at)).take(n).collect()
    }

    /// The shortest time between two of its next instants; `None` when there is one left.
    pub fn shortest_gap(&self) -> Option<Duration> {
        let next = self.next(EXAMPLE, GAPS);
        next.windows(2).map(|pair| pair[1].since(pair[0])).min()
    }

    /// The line with every `~` resolved.
    pub fn line(&self) -> &str {
        &self.line
    }

    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// In words, as in "At 02:30."
    pub fn describe(&self) -> String {
        self.cron.describe()
    }
}

/// Puts a value hashed from `seed` in the place of each `~`.
fn spread(line: &str, seed: Id) -> Result<String, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "{line:?} has {} fields; a cron line has five: minute hour day-of-month month day-of-week, as in \"30 2 * * *\"",
            fields.len()
        ));
    }
    let resolved = fields.iter().zip(FIELDS).map(|(field, (name, first, last))| {
        if *field != "~" {
            return (*field).to_owned();
        }
        (first + hashed(seed, name.as_bytes()) % (last - first + 1)).to_string()
    });
    Ok(resolved.collect::<Vec<_>>().join(" "))
}

/// A number that is always the same for the same job and the same bytes.
pub(super) fn hashed(seed: Id, of: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.0.to_be_bytes());
    hash.update(of);
    hash.finalize().iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    fn berlin(line: &str) -> Schedule {
        Schedule::parse(line, Tz::Europe__Berlin, Id(7)).unwrap()
    }

    #[test]
    fn a_time_in_the_gap_is_due_at_its_end_and_a_double_one_the_first_time() {
        assert_eq!(berlin("30 2 * * *").after(at("2026-03-28T12:00:00+01:00")), Some(at("2026-03-29T03:00:00+02:00")));
        let autumn = berlin("30 2 * * *").next(at("2026-10-24T12:00:00+02:00"), 2);
        assert_eq!(autumn, [at("2026-10-25T02:30:00+02:00"), at("2026-10-26T02:30:00+01:00")]);
    }

    #[test]
    fn wildcard_minutes_are_due_in_both_hours() {
        let due = berlin("*/30 * * * *").next(at("2026-10-25T01:45:00+02:00"), 5);
        assert_eq!(
            due,
            ["02:00:00+02:00", "02:30:00+02:00", "02:00:00+01:00", "02:30:00+01:00", "03:00:00+01:00"]
                .map(|t| at(&format!("2026-10-25T{t}")))
        );
    }

    #[test]
    fn lists_and_ranges_of_hours_go_by_the_clock_on_the_wall_too() {
        let spring = berlin("0,30 2 * * *").next(at("2026-03-29T00:00:00+01:00"), 2);
        assert_eq!(spring, [at("2026-03-29T03:00:00+02:00"), at("2026-03-30T02:00:00+02:00")]);
        let autumn = berlin("0,30 1-3 * * *").next(at("2026-10-25T01:30:00+02:00"), 4);
        let due = ["02:00:00+02:00", "02:30:00+02:00", "03:00:00+01:00", "03:30:00+01:00"];
        assert_eq!(autumn, due.map(|t| at(&format!("2026-10-25T{t}"))));
    }

    #[test]
    fn an_excepted_day_is_passed_over_and_its_neighbours_are_not() {
        let days = |days: &[&str]| days.iter().map(|day| Days::try_from((*day).to_owned()).unwrap()).collect::<Vec<_>>();
        let line = berlin("0 0,12 * * *").except(&days(&["2026-12-24..2026-12-26", "01-01"])).unwrap();
        let due = line.next(at("2026-12-23T11:00:00+01:00"), 2);
        assert_eq!(due, [at("2026-12-23T12:00:00+01:00"), at("2026-12-27T00:00:00+01:00")]);
        assert_eq!(line.before(at("2026-12-26T23:00:00+01:00")), Some(due[0]));
        assert_eq!(line.after(at("2026-12-31T13:00:00+01:00")), Some(at("2027-01-02T00:00:00+01:00")));
        assert!(berlin("0 0 25 12 *").except(&days(&["12-25"])).unwrap_err().contains("never comes"));
    }

    #[test]
    fn the_two_day_fields_are_joined_by_or_and_sunday_is_0_and_7() {
        let due = berlin("0 0 13 * 5").next(at("2026-11-01T00:00:00+01:00"), 3);
        assert_eq!(due, ["2026-11-06", "2026-11-13", "2026-11-20"].map(|d| at(&format!("{d}T00:00:00+01:00"))));
        assert_eq!(
            berlin("0 0 * * 0").after(at("2026-11-22T12:00:00+01:00")),
            berlin("0 0 * * 7").after(at("2026-11-22T12:00:00+01:00"))
        );
    }

    #[test]
    fn what_cannot_be_says_what_would_be_right() {
        for (line, says) in [
            ("61 * * * *", "is no cron line"),
            ("* * * *", "has 4 fields"),
            ("0 0 30 2 *", "never comes"),
            ("@often", "@hourly"),
            ("* * * * * *", "has 6 fields"),
        ] {
            let wrong = Schedule::parse(line, Tz::UTC, Id(1)).unwrap_err();
            assert!(wrong.contains(says), "{line}: {wrong}");
        }
    }

    #[test]
    fn t13_a_tilde_spreads_jobs_and_stays_where_it_is() {
        let minute = |seed| {
            Schedule::parse("~ * * * *", Tz::UTC, Id(seed)).unwrap().line().split(' ').next().unwrap().parse::<usize>().unwrap()
        };
        let mut starts = [0; 60];
        for seed in 0..200 {
            assert_eq!(minute(seed), minute(seed));
            starts[minute(seed)] += 1;
        }
        assert!(starts.iter().all(|n| *n <= 20), "{starts:?}");
    }
}

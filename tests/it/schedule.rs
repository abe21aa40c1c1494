//! Schedules over 50 years in 20 zones, against an oracle that shares no code with them: it walks through every minute and looks
//! at the clock on the wall.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use windlass::clock::Timestamp;
use windlass::domain::schedule::Schedule;
use windlass::id::Id;

/// Half hours, 45 minutes, a gap of 30 minutes (Lord Howe), of a day (Apia), at midnight (Havana, Beirut, Santiago), ended and
/// suspended summer times (Moscow, Casablanca), and zones without any.
const ZONES: [Tz; 20] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::Europe__London,
    Tz::Europe__Dublin,
    Tz::Europe__Moscow,
    Tz::America__New_York,
    Tz::America__Los_Angeles,
    Tz::America__St_Johns,
    Tz::America__Sao_Paulo,
    Tz::America__Santiago,
    Tz::America__Havana,
    Tz::Africa__Casablanca,
    Tz::Africa__Cairo,
    Tz::Asia__Beirut,
    Tz::Asia__Tehran,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Chatham,
    Tz::Pacific__Apia,
];
const YEARS: std::ops::Range<i32> = 1987..2037;
const LINES: [&str; 16] = [
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "*/20 2 * * *",
    "0 */2 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "0 3 * * 0",
    "59 1 * * 7",
    "0,30 1-3 * * *",
    "15,45 0,23 * * *",
    "10-50/20 0-4/2 * * *",
    "0 0 13 * 5",
    "5 4 */10 * *",
    "0 12 28-31 3,10 *",
];

fn seconds(count: i64) -> TimeDelta {
    TimeDelta::seconds(count)
}

const DAY: i64 = 86_400;

struct Line {
    fields: Vec<BTreeSet<u32>>,
    stars: Vec<bool>,
}

impl Line {
    fn new(text: &str) -> Self {
        let bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
        let fields = text.split(' ').zip(bounds).map(|(field, (first, last))| values(field, first, last)).collect();
        Self { fields, stars: text.split(' ').map(|field| field.starts_with('*')).collect() }
    }

    fn by_the_wall(&self) -> bool {
        !self.stars[0] && !self.stars[1]
    }

    fn has(&self, wall: NaiveDateTime) -> bool {
        let [minutes, hours, days, months, weekdays] = &self.fields[..] else { unreachable!() };
        let weekday = wall.weekday().num_days_from_sunday();
        let on = (days.contains(&wall.day()), weekdays.contains(&weekday) || weekday == 0 && weekdays.contains(&7));
        // POSIX: two restricted day fields are joined by OR.
        let day = if self.stars[2] || self.stars[4] { on.0 && on.1 } else { on.0 || on.1 };
        minutes.contains(&wall.minute()) && hours.contains(&wall.hour()) && months.contains(&wall.month()) && day
    }
}

fn values(field: &str, first: u32, last: u32) -> BTreeSet<u32> {
    let part = |part: &str| {
        let (range, step) = part.split_once('/').map_or((part, 1), |(range, step)| (range, step.parse().unwrap()));
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (first, last),
            (_, Some((from, to))) => (from.parse().unwrap(), to.parse().unwrap()),
            _ => (range.parse().unwrap(), range.parse().unwrap()),
        };
        (from..=to).step_by(step).collect::<Vec<_>>()
    };
    field.split(',').flat_map(part).collect()
}

/// Each minute of the window, in UTC, and what the clock shows. A day and more before it is looked at, too.
fn minutes(zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(DateTime<Utc>, NaiveDateTime)> {
    let first = from - seconds(DAY + 7_200);
    let count = (to - first).num_minutes();
    (0..count).map(|n| first + TimeDelta::minutes(n)).map(|at| (at, at.with_timezone(&zone).naive_local())).collect()
}

/// Instants after `from` at which the line is due.
fn due(line: &Line, minutes: &[(DateTime<Utc>, NaiveDateTime)], from: DateTime<Utc>) -> BTreeSet<i64> {
    let mut due = BTreeSet::new();
    let mut shown = minutes[0].1;
    for (at, wall) in minutes {
        if !line.by_the_wall() {
            if line.has(*wall) {
                due.insert(at.timestamp_millis());
            }
            continue;
        }
        // What the clock has passed since it last showed something new; a clock that was set back shows nothing new for a while.
        while shown < *wall {
            shown += TimeDelta::minutes(1);
            if line.has(shown) {
                due.insert(at.timestamp_millis());
            }
        }
    }
    due.split_off(&(from.timestamp_millis() + 1))
}

/// Windows around each change of the zone's offset, and one anywhere in each year.
fn windows(zone: Tz, random: &mut StdRng) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let mut windows = Vec::new();
    for year in YEARS {
        let start = Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap();
        let offset =
            |day: i64| (start + seconds(day * DAY)).with_timezone(&zone).naive_local() - (start + seconds(day * DAY)).naive_utc();
        let changes = (0..365).filter(|day| offset(*day) != offset(day + 1));
        for day in changes.chain([random.random_range(0..365)]) {
            let from = start + seconds(day * DAY - DAY / 3);
            windows.push((from, from + seconds(2 * DAY)));
        }
    }
    windows
}

#[test]
fn fifty_years_in_twenty_zones_are_as_the_clock_on_the_wall_says() {
    let mut random = StdRng::seed_from_u64(7);
    let (mut compared, mut changes) = (0, 0);
    for zone in ZONES {
        let windows = windows(zone, &mut random);
        changes += windows.len() - YEARS.len();
        for (from, to) in windows {
            let minutes = minutes(zone, from, to);
            for text in LINES.choose_multiple(&mut random, 4) {
                let schedule = Schedule::parse(text, zone, Id(1)).unwrap();
                let end = to.timestamp_millis();
                let first = schedule.after(Timestamp(from.timestamp_millis()));
                let found = std::iter::successors(first, |at| schedule.after(*at)).map(|at| at.0).take_while(|at| *at < end);
                let found: BTreeSet<i64> = found.collect();
                let expected = due(&Line::new(text), &minutes, from);
                let show = |set: &BTreeSet<i64>| {
                    set.iter().map(|at| zone.timestamp_millis_opt(*at).unwrap().to_rfc3339()).collect::<Vec<_>>()
                };
                assert_eq!(show(&found), show(&expected), "{text:?} in {zone} from {from}");
                if let Some(last) = expected.last() {
                    assert_eq!(schedule.before(Timestamp(end - 1)).unwrap().0, *last, "before {to}: {text:?} in {zone}");
                }
                compared += expected.len();
            }
        }
    }
    assert!(changes > 1_000 && compared > 50_000, "{changes} changes of clocks, {compared} instants");
}

//! The ring by itself, in virtual time: seeded, so that what fails fails again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const MS: Duration = Duration::from_millis(1);
const NO_LIMIT: Free = Free { slots: u32::MAX, memory: u32::MAX, budget: u32::MAX };

fn plain() -> Rule {
    Rule { weight: 1, priority: 0, class: None, bounds: Bounds::default() }
}

fn slots(slots: u32) -> Free {
    Free { slots, ..NO_LIMIT }
}

fn at(ms: i64) -> Timestamp {
    Timestamp(1_000_000 + ms)
}

fn runs_of(picks: &[Pick], tenant: i64) -> u32 {
    picks.iter().filter(|pick| pick.tenant == Id(tenant)).map(|pick| pick.runs).sum()
}

/// Nodes that take runs from one queue, in virtual time; µs.
struct World<R> {
    rings: Vec<Ring>,
    free: Vec<Free>,
    rule: R,
    /// Runs that wait, by job, each with how long it will take.
    waiting: HashMap<Id, VecDeque<Duration>>,
    /// What will happen when: (time, order, what).
    ahead: BinaryHeap<Reverse<(u64, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    now: u64,
    /// (time, tenant, job) of each start.
    started: Vec<(u64, Id, Id)>,
    /// Of runs that have ended, by tenant.
    worked: HashMap<Id, Duration>,
}

fn index(id: Id) -> usize {
    usize::try_from(id.0).unwrap()
}

enum Happening {
    Ended { node: usize, pick: Pick, took: Duration },
    Come { tenant: Id, job: Id, took: Duration },
}

impl<R: Fn(Id, Id) -> Rule> World<R> {
    fn new(nodes: usize, free: Free, rule: R) -> Self {
        Self {
            rings: (0..nodes).map(|_| Ring::default()).collect(),
            free: vec![free; nodes],
            rule,
            waiting: HashMap::new(),
            ahead: BinaryHeap::new(),
            happenings: Vec::new(),
            now: 0,
            started: Vec::new(),
            worked: HashMap::new(),
        }
    }

    fn at(&mut self, micros: u64, what: Happening) {
        self.ahead.push(Reverse((micros, self.happenings.len() as u64, self.happenings.len())));
        self.happenings.push(Some(what));
    }

    fn come(&mut self, tenant: Id, job: Id, took: Duration) {
        self.waiting.entry(job).or_default().push_back(took);
        let (now, priority) = (self.time(), (self.rule)(tenant, job).priority);
        self.rings.iter_mut().for_each(|ring| ring.add(tenant, job, priority, now));
    }

    fn time(&self) -> Timestamp {
        at(i64::try_from(self.now / 1_000).unwrap())
    }

    /// The node takes as much as it can.
    fn claim(&mut self, node: usize) {
        loop {
            let (free, now) = (self.free[node], self.time());
            let picks = self.rings[node].choose(free, now, &self.rule);
            if picks.is_empty() {
                return;
            }
            for pick in picks {
                for n in 0..pick.runs {
                    let Some(took) = self.waiting.get_mut(&pick.job).and_then(VecDeque::pop_front) else {
                        self.rings[node].missed(&pick, pick.runs - n);
                        self.rings[node].empty(pick.tenant, pick.job);
                        break;
                    };
                    self.free[node].slots -= 1;
                    self.free[node].memory -= pick.rule.bounds.memory;
                    self.started.push((self.now, pick.tenant, pick.job));
                    let ends = self.now + u64::try_from(took.as_micros()).unwrap();
                    self.at(ends, Happening::Ended { node, pick: pick.clone(), took });
                }
            }
        }
    }

    /// Until nothing happens any more, or `go_on` says no.
    fn run(&mut self, mut go_on: impl FnMut(&Self) -> bool) {
        (0..self.rings.len()).for_each(|node| self.claim(node));
        while go_on(self) {
            let Some(Reverse((time, _, what))) = self.ahead.pop() else { return };
            self.now = time;
            match self.happenings[what].take() {
                Some(Happening::Ended { node, pick, took }) => {
                    *self.worked.entry(pick.tenant).or_default() += took;
                    self.free[node].slots += 1;
                    self.free[node].memory += pick.rule.bounds.memory;
                    self.rings[node].ended(&pick, took);
                    self.claim(node);
                }
                Some(Happening::Come { tenant, job, took }) => {
                    self.come(tenant, job, took);
                    (0..self.rings.len())
                        .filter(|node| self.free[*node].slots > 0)
                        .collect::<Vec<_>>()
                        .into_iter()
                        .for_each(|node| self.claim(node));
                }
                None => {}
            }
        }
    }
}

#[test]
fn fifty_nodes_a_thousand_tenants_and_one_that_floods_delay_nobody() {
    const FLOOD: Id = Id(0);
    let mut random = StdRng::seed_from_u64(5);
    let mut world = World::new(50, slots(4), |_, _| plain());
    let mut took = |least, most| MS * random.random_range(least..=most);
    for _ in 0..1_000_000 {
        world.waiting.entry(FLOOD).or_default().push_back(took(20, 200));
    }
    world.rings.iter_mut().for_each(|ring| ring.add(FLOOD, FLOOD, 0, at(0)));
    let mut come = HashMap::new();
    for tenant in 1..1_000 {
        let (when, took) = (u64::try_from(took(1_000, 20_000).as_micros()).unwrap(), took(1, 100));
        come.insert(Id(tenant), when);
        world.at(when, Happening::Come { tenant: Id(tenant), job: Id(tenant), took });
    }
    world.run(|world| world.now < 21_000_000);
    let lone: Vec<_> = world.started.iter().filter(|(_, tenant, _)| *tenant != FLOOD).collect();
    assert_eq!(lone.len(), 999, "all have run");
    let mut longest = 0;
    for (started, tenant, _) in &lone {
        let came = come[tenant];
        longest = longest.max(started - came);
        let passed = world.started.iter().filter(|(at, of, _)| *of == FLOOD && (came + 1..*started).contains(at)).count();
        assert_eq!(passed, 0, "while {tenant:?} waited, runs of the flood began");
    }
    assert!(longest <= 200_000, "{longest} µs is longer than the longest run in progress");
    assert!(world.waiting[&FLOOD].len() < 1_000_000 - 30_000, "and the flood had all the rest: {}", world.waiting[&FLOOD].len());
}

#[test]
fn w4_twenty_thousand_jobs_of_one_wiki_do_not_delay_those_with_one() {
    // Batches of 20 s, four at a time for each wiki, ten on the node: no wiki can fill it.
    let rule = |_, _| Rule { bounds: Bounds { tenant: 4, ..Bounds::default() }, ..plain() };
    let mut world = World::new(1, slots(10), rule);
    for _ in 0..20_000 {
        world.come(Id(1), Id(1), MS * 20_000);
    }
    for wiki in 2..50 {
        world.at(60_000_000, Happening::Come { tenant: Id(wiki), job: Id(wiki), took: 5_000 * MS });
    }
    world.run(|world| world.now < 200_000_000);
    let others: Vec<_> = world.started.iter().filter(|(_, tenant, _)| *tenant != Id(1)).collect();
    assert_eq!(others.len(), 48);
    assert!(others.iter().all(|(at, ..)| *at <= 120_000_000), "each within 60 s");
}

#[test]
fn v8_heavy_jobs_keep_to_their_class_and_light_ones_find_room() {
    let heavy: Arc<str> = "heavy".into();
    let rule = |tenant: Id, _| match tenant {
        Id(1) => Rule { class: Some(heavy.clone()), bounds: Bounds { class: 4, memory: 512, ..Bounds::default() }, ..plain() },
        _ => plain(),
    };
    let mut world = World::new(1, Free { slots: 16, memory: 4_096, budget: 4_096 }, rule);
    for _ in 0..6_500 {
        world.come(Id(1), Id(1), 3_600_000 * MS);
    }
    for n in 0..1_000_u64 {
        world.at(1_000_000 + n * 100_000, Happening::Come { tenant: Id(2), job: Id(2), took: 50 * MS });
    }
    world.run(|world| {
        let heavy = world.rings[0].running_of(Of::Class("heavy".into()));
        assert!(heavy <= 4 && world.free[0].memory >= 4_096 - 4 * 512, "{heavy}");
        world.now < 200_000_000
    });
    let light: Vec<_> = world.started.iter().filter(|(_, tenant, _)| *tenant == Id(2)).map(|(at, ..)| *at).collect();
    assert_eq!(light.len(), 1_000);
    assert!(light.iter().enumerate().all(|(n, at)| *at == 1_000_000 + n as u64 * 100_000), "each the moment it came");
}

#[test]
fn tenants_share_worker_time_by_weight_however_long_their_runs_are() {
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let weights: Vec<u32> = (0..5).map(|_| random.random_range(1..=4)).collect();
        let longest: Vec<u32> = (0..5).map(|_| random.random_range(5..=200)).collect();
        let mut world = World::new(1, slots(8), |tenant, _| Rule { weight: weights[index(tenant)], ..plain() });
        for tenant in 0..5 {
            // How many jobs a tenant has makes no difference.
            for job in 0..=tenant {
                for _ in 0..400_000 / longest[index(Id(tenant))] {
                    world.come(Id(tenant), Id(tenant * 10 + job), MS * random.random_range(1..=longest[index(Id(tenant))]));
                }
            }
        }
        world.run(|world| world.now < 40_000_000);
        let total: u32 = weights.iter().sum();
        for (n, weight) in weights.iter().enumerate() {
            let due = 8.0 * 40.0 * f64::from(*weight) / f64::from(total);
            let had = world.worked[&Id(i64::try_from(n).unwrap())].as_secs_f64();
            assert!((had - due).abs() < 0.05 * due + 1.6, "seed {seed}: {n} had {had} s of {due} s; {weights:?} {longest:?}");
        }
    }
}

#[test]
fn whatever_happens_no_limit_is_passed_and_nothing_is_left_over() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let classes: [Arc<str>; 2] = ["a".into(), "b".into()];
        let limits: Vec<(u32, u32, u32)> =
            (0..12).map(|_| (random.random_range(1..6), random.random_range(1..4), random.random_range(0..300))).collect();
        let rule = |tenant: Id, job: Id| {
            let (of_tenant, (_, of_job, memory)) = (limits[index(tenant)].0, limits[index(job)]);
            let bounds = Bounds { tenant: of_tenant, job: of_job, class: 3, memory, ..Bounds::default() };
            let priority = i32::try_from(job.0 % 3).unwrap();
            Rule { weight: of_job, priority, class: Some(classes[index(job) % 2].clone()), bounds }
        };
        let mut world = World::new(1, Free { slots: 9, memory: 1_000, budget: 1_000 }, rule);
        let mut came = 0;
        for _ in 0..400 {
            let job = random.random_range(0..12);
            let (when, took) = (random.random_range(0..2_000_000), MS * random.random_range(1..300));
            world.at(when, Happening::Come { tenant: Id(job / 3), job: Id(job), took });
            came += 1;
        }
        world.run(|world| {
            let ring = &world.rings[0];
            for job in 0..12 {
                assert!(ring.running_of(Of::Tenant(Id(job / 3))) <= limits[index(Id(job / 3))].0, "seed {seed}");
                assert!(ring.running_of(Of::Job(Id(job))) <= limits[index(Id(job))].1, "seed {seed}");
            }
            classes.iter().for_each(|class| assert!(ring.running_of(Of::Class(class.clone())) <= 3, "seed {seed}"));
            true
        });
        // World subtracts what each takes from what is free: more than there is would have been an overflow.
        assert_eq!((world.started.len(), world.free[0].slots, world.free[0].memory), (came, 9, 1_000), "seed {seed}");
        assert!(world.rings[0].running.is_empty() && world.rings[0].kept.is_none(), "seed {seed}");
    }
}

#[test]
fn a_higher_priority_goes_first_and_a_lower_one_is_not_forgotten() {
    let rule = |_, job: Id| Rule { priority: i32::try_from(job.0).unwrap(), ..plain() };
    let mut world = World::new(1, slots(1), rule);
    for _ in 0..1_000 {
        world.come(Id(1), Id(0), 1_000 * MS);
        world.come(Id(1), Id(2), 1_000 * MS);
    }
    world.run(|world| world.now < 100_000_000);
    let low: Vec<u64> = world.started.iter().filter(|(.., job)| *job == Id(0)).map(|(at, ..)| at / 1_000_000).collect();
    assert_eq!(low, [21, 42, 63, 84], "two points are twenty seconds, and a turn");
}

/// One tenant whose transcodes take an hour and whose thumbnails a second, on one slot and on many.
#[test]
fn heavy_jobs_of_a_tenant_leave_its_light_ones_their_share_of_worker_time() {
    for slots_of_node in [1, 8] {
        let mut world = World::new(1, slots(slots_of_node), |_, _| plain());
        for _ in 0..1_000 {
            world.come(Id(1), Id(1), 60_000 * MS);
        }
        for _ in 0..60_000 {
            world.come(Id(1), Id(2), 1_000 * MS);
        }
        world.run(|world| world.now < 3_600_000_000);
        let ran = |job| f64::from(u32::try_from(world.started.iter().filter(|(.., of)| *of == Id(job)).count()).unwrap());
        let (heavy, light) = (ran(1) * 60.0, ran(2));
        let all = f64::from(slots_of_node) * 3_600.0;
        assert!((heavy - all / 2.0).abs() < all * 0.06 + 60.0, "{slots_of_node}: heavy {heavy} s, light {light} s of {all} s");
        // And none waits for two heavy ones in a row.
        let slow = world.started.windows(2).filter(|pair| pair.iter().all(|(.., job)| *job == Id(1))).count();
        assert!(slots_of_node > 1 || slow <= 1, "{slow}");
    }
}

/// A light run that comes now and then begins with the next free slot, however many heavy ones wait.
#[test]
fn a_light_run_is_next_after_the_heavy_one_in_progress() {
    let mut world = World::new(1, slots(2), |_, _| plain());
    for _ in 0..1_000 {
        world.come(Id(1), Id(1), 60_000 * MS);
    }
    for n in 0..20_u64 {
        for job in [2, 3] {
            world.at(90_000_000 + n * 200_000_000, Happening::Come { tenant: Id(1), job: Id(job), took: 10 * MS });
        }
    }
    world.run(|world| world.now < 4_200_000_000);
    let light: Vec<u64> = world.started.iter().filter(|(.., job)| *job != Id(1)).map(|(at, ..)| *at).collect();
    assert_eq!(light.len(), 40);
    for (n, began) in light.iter().enumerate() {
        let came = 90_000_000 + n as u64 / 2 * 200_000_000;
        assert!(*began - came <= 61_000_000, "one that came at {came} began at {began}");
    }
}

#[test]
fn a_run_that_needs_much_memory_is_not_passed_by_for_ever() {
    let rule = |_, job: Id| {
        let memory = if job == Id(9) { 900 } else { 100 };
        Rule { bounds: Bounds { memory, ..Bounds::default() }, ..plain() }
    };
    let mut world = World::new(1, Free { slots: 100, memory: 1_000, budget: 1_000 }, rule);
    for n in 0..2_000_u32 {
        world.come(Id(1), Id(1), (1_000 + n % 7 * 30) * MS);
    }
    world.at(1_000_000, Happening::Come { tenant: Id(2), job: Id(9), took: 1_000 * MS });
    world.run(|world| world.now < 60_000_000);
    let big: Vec<u64> = world.started.iter().filter(|(.., job)| *job == Id(9)).map(|(at, ..)| *at).collect();
    assert!(big.len() == 1 && (11_000_000..14_000_000).contains(&big[0]), "{big:?}");
    // What never fits keeps nothing from others.
    let mut ring = Ring::default();
    ring.add(Id(1), Id(9), 0, at(0));
    ring.add(Id(1), Id(1), 0, at(0));
    let free = Free { slots: 10, memory: 800, budget: 800 };
    assert_eq!(runs_of(&ring.choose(free, at(60_000), rule), 1), 8);
}

#[test]
fn who_comes_back_is_owed_nothing_and_who_took_much_is_not_forgiven() {
    let mut ring = Ring::default();
    ring.add(Id(1), Id(10), 0, at(0));
    for _ in 0..10 {
        let picks = ring.choose(slots(100), at(0), |_, _| plain());
        assert_eq!(runs_of(&picks, 1), 100, "alone, it has all");
        picks.iter().for_each(|pick| (0..pick.runs).for_each(|_| ring.ended(pick, 50 * MS)));
    }
    ring.add(Id(2), Id(20), 0, at(0));
    let picks = ring.choose(slots(10), at(0), |_, _| plain());
    assert!((4..=7).contains(&runs_of(&picks, 2)), "it shares from now on, for what was before it is owed nothing: {picks:?}");
    // A tenant that is empty for a moment has had what it has had.
    let mut ring = Ring::default();
    ring.add(Id(1), Id(10), 0, at(0));
    ring.add(Id(2), Id(20), 0, at(0));
    let picks = ring.choose(slots(2), at(0), |_, _| plain());
    let one = picks.iter().find(|pick| pick.tenant == Id(1)).unwrap();
    ring.ended(one, 1_000 * MS);
    ring.empty(Id(1), Id(10));
    ring.add(Id(1), Id(10), 0, at(1_000));
    assert_eq!(runs_of(&ring.choose(slots(5), at(1_000), |_, _| plain()), 2), 5);
}

#[test]
fn a_tenant_that_rests_and_a_job_that_is_shut_leave_their_turn_to_others() {
    use crate::domain::admission::Shut;
    let mut ring = Ring::default();
    for (tenant, job) in [(1, 10), (2, 20), (2, 21)] {
        ring.add(Id(tenant), Id(job), 0, at(0));
    }
    let rule = |_, job: Id| {
        let shut = (job == Id(20)).then_some(Shut::Paused);
        Rule { bounds: Bounds { starts: 60, shut, ..Bounds::default() }, ..plain() }
    };
    ring.rest(Id(1), at(500));
    let picks = ring.choose(slots(4), at(0), rule);
    assert_eq!(picks.iter().map(|pick| (pick.job, pick.runs)).collect::<Vec<_>>(), [(Id(21), 4)]);
    assert_eq!((ring.rests_until(at(0)), ring.rests_until(at(500))), (Some(at(500)), None));
    assert_eq!(runs_of(&ring.choose(slots(4), at(500), rule), 1), 2, "and then it shares again");
}

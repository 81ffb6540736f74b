//! All priority levels of a server: who runs, who waits and who is refused. A pure state that is told the time (KEP-1040).
//!
//! Each level has its share of the seats ([`limits`](super::limits)) and serves its flows fairly ([`queues`](super::queues)). What levels
//! lend each other is adjusted from time to time, by what they asked for since the last time.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    limits::{Bounds, Demand, adjust},
    queues::{Leaving, QueueSet, Request, Response, Ticket},
};

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    pub uid: String,
    /// Its requests always run.
    pub exempt: bool,
    /// Its part of the server's seats, relative to the other levels.
    pub shares: u32,
    /// Percent of its seats that others may borrow.
    pub lendable: u32,
    /// Percent of its seats that it may borrow; `None` is no limit.
    pub borrowing: Option<u32>,
    pub response: Response,
}

impl Level {
    fn discipline(&self) -> Option<Response> {
        (!self.exempt).then_some(self.response)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// These run now, in order. The one that arrived waits if it is not among them.
    Started(Vec<Ticket>),
    /// With upstream's word for the metric.
    Rejected(&'static str),
}

/// A level and what goes on there.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) level: Level,
    pub(super) queues: QueueSet,
    pub(super) bounds: Bounds,
    /// The seats that it may use now.
    pub(super) limit: u32,
    demand: Demand,
    /// Its configuration is gone; it is closed when nobody is left.
    pub(super) closing: bool,
}

impl Desk {
    fn new(level: Level, now: Instant) -> Desk {
        Desk {
            queues: QueueSet::new(level.discipline(), now),
            bounds: Bounds::default(),
            limit: 0,
            demand: Demand::new(now),
            closing: false,
            level,
        }
    }

    /// The most seats that one request takes: a part of the level's, so that a few wide requests can't fill it.
    fn widest(&self) -> u32 {
        match self.level.discipline() {
            Some(Response::Queue { hand, .. }) => {
                let part = (u64::from(self.bounds.nominal) * 15).div_ceil(100) as u32;
                part.min(self.bounds.nominal / (hand.max(1) as u32)).max(1)
            }
            _ => u32::MAX,
        }
    }
}

/// All levels of a server.
#[derive(Debug)]
pub(super) struct Seats {
    total: u32,
    desks: BTreeMap<String, Desk>,
}

impl Seats {
    pub(super) fn new(total: u32) -> Seats {
        Seats { total: total.max(1), desks: BTreeMap::new() }
    }

    /// Takes over new levels; requests that run or wait stay where they are. Those that run now.
    pub(super) fn configure(&mut self, levels: BTreeMap<String, Level>, now: Instant) -> Vec<Ticket> {
        for (name, desk) in &mut self.desks {
            desk.closing = !levels.contains_key(name);
        }
        for (name, level) in levels {
            match self.desks.get_mut(&name) {
                Some(desk) => {
                    desk.queues.configure(level.discipline());
                    desk.level = level;
                }
                None => {
                    self.desks.insert(name, Desk::new(level, now));
                }
            }
        }
        self.share(now)
    }

    /// Shares the seats out. A level that is closing keeps its share until it is empty.
    fn share(&mut self, now: Instant) -> Vec<Ticket> {
        self.desks.retain(|_, desk| !desk.closing || !desk.queues.is_idle());
        let shares: u64 = self.desks.values().map(|d| u64::from(d.level.shares)).sum();
        for desk in self.desks.values_mut() {
            let level = &desk.level;
            desk.bounds = Bounds::new(self.total, level.shares, shares, level.lendable, level.borrowing);
        }
        self.adjust(now)
    }

    /// Moves seats between the levels, by what they asked for since the last time. Those that run now.
    pub(super) fn adjust(&mut self, now: Instant) -> Vec<Ticket> {
        let mut levels: Vec<_> = self.desks.values_mut().map(|desk| (desk.bounds, &mut desk.demand)).collect();
        let limits = adjust(&mut levels, now);
        let mut started = Vec::new();
        for (desk, limit) in self.desks.values_mut().zip(limits) {
            desk.limit = limit;
            started.extend(desk.queues.set_limit(limit, now));
        }
        started
    }

    /// A request arrives at a level. An unknown level refuses it.
    pub(super) fn arrive(
        &mut self,
        level: &str,
        flow: u64,
        mut request: Request,
        ticket: Ticket,
        now: Instant,
    ) -> Arrival {
        let Some(desk) = self.desks.get_mut(level) else { return Arrival::Rejected("concurrency-limit") };
        request.width = request.width.min(desk.widest());
        let arrived = desk.queues.arrive(flow, request, ticket, now);
        desk.demand.observe(desk.queues.demand(), now);
        arrived.map_or_else(Arrival::Rejected, Arrival::Started)
    }

    /// A request has ended: those that run now, in order.
    pub(super) fn finish(&mut self, level: &str, ticket: Ticket, now: Instant) -> Vec<Ticket> {
        let Some(desk) = self.desks.get_mut(level) else { return Vec::new() };
        let mut started = desk.queues.finish(ticket, now);
        desk.demand.observe(desk.queues.demand(), now);
        if desk.closing && desk.queues.is_idle() {
            started.extend(self.share(now));
        }
        started
    }

    /// A waiting request goes away. `false` if it no longer waits: it has been given its seats.
    pub(super) fn give_up(&mut self, level: &str, ticket: Ticket, why: Leaving, now: Instant) -> bool {
        let Some(desk) = self.desks.get_mut(level) else { return false };
        let waited = desk.queues.give_up(ticket, why, now);
        desk.demand.observe(desk.queues.demand(), now);
        waited
    }

    pub(super) fn level(&self, name: &str) -> Option<&Level> {
        self.desks.get(name).map(|desk| &desk.level)
    }

    /// The levels by name.
    pub(super) fn desks(&self) -> impl Iterator<Item = (&str, &Desk)> {
        self.desks.iter().map(|(name, desk)| (name.as_str(), desk))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use jiff::Timestamp;

    use super::*;
    use crate::fairness::schema::FlowSchema;

    const QUEUE: Response = Response::Queue { queues: 8, hand: 2, length: 50 };

    fn level(shares: u32, response: Response) -> Level {
        Level { uid: String::new(), exempt: false, shares, lendable: 0, borrowing: None, response }
    }

    fn levels(levels: &[(&str, Level)]) -> BTreeMap<String, Level> {
        levels.iter().map(|(name, level)| ((*name).to_owned(), level.clone())).collect()
    }

    fn seats(total: u32, of: &[(&str, Level)]) -> Seats {
        let mut seats = Seats::new(total);
        seats.configure(levels(of), Instant::now());
        seats
    }

    fn arrive(seats: &mut Seats, level: &str, width: u32, ticket: Ticket) -> Arrival {
        let schema = FlowSchema {
            name: "s".into(),
            uid: String::new(),
            level: level.into(),
            precedence: 1,
            distinguisher: None,
            rules: Vec::new(),
        };
        let (schema, info) = (Arc::new(schema), Arc::default());
        let request = Request { schema, user: "ann".into(), info, width, arrived: Timestamp::UNIX_EPOCH };
        seats.arrive(level, ticket, request, ticket, Instant::now())
    }

    fn runs(seats: &mut Seats, level: &str, ticket: Ticket) -> bool {
        arrive(seats, level, 1, ticket) == Arrival::Started(vec![ticket])
    }

    fn limits(seats: &Seats) -> Vec<u32> {
        seats.desks().map(|(_, desk)| desk.limit).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn exempt_levels_always_run() {
        let exempt = Level { exempt: true, ..level(0, Response::Reject) };
        let mut seats = seats(1, &[("exempt", exempt), ("a", level(1, QUEUE))]);
        assert!((0..5).all(|n| runs(&mut seats, "exempt", n)));
        assert!(runs(&mut seats, "a", 9));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_seats_are_lent_with_time_and_reserved_ones_are_not() {
        let lender = Level { lendable: 50, ..level(1, QUEUE) };
        let mut seats = seats(20, &[("busy", level(1, QUEUE)), ("idle", lender)]);
        let running = (0..20).filter(|n| runs(&mut seats, "busy", *n)).count();
        assert_eq!(running, 13, "idle levels share what neither reserves by what they reserve");
        tokio::time::advance(Duration::from_secs(10)).await;
        let started = seats.adjust(Instant::now());
        assert_eq!((started.len(), limits(&seats)), (2, vec![15, 5]), "all but what the other has reserved");

        // What was lent comes back when the lender wants it.
        (100..120).for_each(|n| drop(arrive(&mut seats, "idle", 1, n)));
        tokio::time::advance(Duration::from_secs(10)).await;
        seats.adjust(Instant::now());
        assert_eq!(limits(&seats), [10, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn borrowing_has_a_limit() {
        let modest = Level { borrowing: Some(20), ..level(1, QUEUE) };
        let lender = Level { lendable: 100, ..level(1, QUEUE) };
        let mut seats = seats(20, &[("lender", lender), ("modest", modest)]);
        (0..20).for_each(|n| drop(arrive(&mut seats, "modest", 1, n)));
        tokio::time::advance(Duration::from_secs(10)).await;
        seats.adjust(Instant::now());
        assert_eq!(limits(&seats), [8, 12]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_takes_a_part_of_a_level_with_queues() {
        let mut seats = seats(100, &[("a", level(1, QUEUE)), ("b", level(1, Response::Reject))]);
        arrive(&mut seats, "a", 10, 0);
        arrive(&mut seats, "b", 10, 1);
        let used: Vec<u32> = seats.desks().map(|(_, desk)| desk.queues.seats_in_use()).collect();
        assert_eq!(used, [8, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_that_is_removed_serves_those_it_has() {
        let mut seats = seats(1, &[("a", level(1, QUEUE))]);
        assert!(runs(&mut seats, "a", 0) && !runs(&mut seats, "a", 1));
        seats.configure(levels(&[("b", level(1, QUEUE))]), Instant::now());
        assert_eq!(seats.finish("a", 0, Instant::now()), [1]);
        assert!(seats.level("a").is_some());
        seats.finish("a", 1, Instant::now());
        assert!(seats.level("a").is_none());
    }
}

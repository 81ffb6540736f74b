//! Who runs, who waits and who is refused: a pure state of priority levels, their queues and their seats (KEP-1040).
//!
//! A level's queues are served by start-time fair queueing: each waiting request has a virtual start, the lowest goes next, and a queue
//! pays for what it was given by later starts. A flow is dealt a small hand of a level's queues and takes the shortest: a flow that floods
//! fills its own hand, and few other flows share all of it.
//!
//! Levels lend what they don't use. Upstream moves the limits between levels every ten seconds; here a level may borrow at any moment what
//! no other level uses or has reserved.

use std::collections::{BTreeMap, VecDeque};

/// What happens to requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    Reject,
    Queue { queues: usize, hand: usize, length: usize },
}

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

/// Names a waiting request.
pub(super) type Ticket = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Run,
    Wait,
    /// With upstream's word for the metric.
    Reject(&'static str),
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    width: u32,
    start: f64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// The virtual start of its next request, unless time has passed it.
    next_start: f64,
}

impl Queue {
    fn load(&self) -> u32 {
        self.waiting.iter().map(|w| w.width).sum()
    }
}

#[derive(Debug)]
struct Desk {
    level: Level,
    nominal: u32,
    used: u32,
    queues: Vec<Queue>,
    virtual_time: f64,
    /// Its configuration is gone; it is closed when nobody is left.
    closing: bool,
}

/// All levels of a server.
#[derive(Debug)]
pub(super) struct Seats {
    total: u32,
    desks: BTreeMap<String, Desk>,
}

impl Desk {
    fn new(level: Level) -> Desk {
        let mut desk = Desk { level, nominal: 0, used: 0, queues: Vec::new(), virtual_time: 0.0, closing: false };
        desk.add_queues();
        desk
    }

    /// A level that now has fewer queues keeps those that it had: the last ones empty themselves.
    fn add_queues(&mut self) {
        if let Response::Queue { queues, .. } = self.level.response {
            self.queues.resize_with(self.queues.len().max(queues), Queue::default);
        }
    }

    /// What nobody may borrow from it.
    fn reserved(&self) -> u32 {
        self.nominal - self.nominal * self.level.lendable.min(100) / 100
    }

    fn most(&self, total: u32) -> u32 {
        match self.level.borrowing {
            Some(percent) => self.nominal.saturating_add(self.nominal * percent / 100),
            None => total.max(self.nominal),
        }
    }

    fn is_waiting(&self) -> bool {
        self.queues.iter().any(|q| !q.waiting.is_empty())
    }

    /// Puts the request into the shortest queue of the flow's hand.
    fn enqueue(&mut self, ticket: Ticket, flow: u64, width: u32) -> Arrival {
        let Response::Queue { queues, hand, length } = self.level.response else {
            return Arrival::Reject("concurrency-limit");
        };
        let cards = deal(flow, queues.max(1), hand.max(1));
        let shortest = cards.into_iter().min_by_key(|card| self.queues[*card].load());
        let Some(queue) = shortest.map(|card| &mut self.queues[card]) else { return Arrival::Reject("queue-full") };
        if queue.waiting.len() >= length {
            return Arrival::Reject("queue-full");
        }
        let start = queue.next_start.max(self.virtual_time);
        queue.next_start = start + f64::from(width);
        queue.waiting.push_back(Waiting { ticket, width, start });
        Arrival::Wait
    }

    /// The queue whose first request goes next, and that request's width.
    fn next(&self) -> Option<(usize, u32)> {
        let heads = self.queues.iter().enumerate().filter_map(|(n, q)| q.waiting.front().map(|w| (n, w)));
        let (n, head) = heads.min_by(|(_, a), (_, b)| a.start.total_cmp(&b.start))?;
        Some((n, head.width))
    }
}

impl Seats {
    pub(super) fn new(total: u32) -> Seats {
        Seats { total: total.max(1), desks: BTreeMap::new() }
    }

    /// Takes over new levels. Requests that run or wait stay where they are.
    pub(super) fn configure(&mut self, levels: BTreeMap<String, Level>) {
        for (name, desk) in &mut self.desks {
            desk.closing = !levels.contains_key(name);
        }
        for (name, level) in levels {
            match self.desks.get_mut(&name) {
                Some(desk) => {
                    desk.level = level;
                    desk.add_queues();
                }
                None => {
                    self.desks.insert(name, Desk::new(level));
                }
            }
        }
        self.close();
        let shares: u32 = self.desks.values().filter(|d| !d.closing).map(|d| d.level.shares).sum();
        for desk in self.desks.values_mut() {
            let shares_of_it = if desk.closing { 0 } else { desk.level.shares };
            let part = u64::from(self.total) * u64::from(shares_of_it);
            desk.nominal = part.div_ceil(u64::from(shares.max(1))) as u32;
        }
    }

    fn close(&mut self) {
        self.desks.retain(|_, desk| !desk.closing || desk.used > 0 || desk.is_waiting());
    }

    /// A request of `width` seats arrives at a level. An unknown level refuses it.
    pub(super) fn arrive(&mut self, level: &str, flow: u64, width: u32, ticket: Ticket) -> Arrival {
        let free = self.fits(level, width);
        let Some(desk) = self.desks.get_mut(level) else { return Arrival::Reject("concurrency-limit") };
        if desk.level.exempt || (free && !desk.is_waiting()) {
            desk.used += width;
            return Arrival::Run;
        }
        desk.enqueue(ticket, flow, width)
    }

    /// Whether a level may take `width` more seats: its own, or borrowed ones. An idle level may always run one request.
    fn fits(&self, level: &str, width: u32) -> bool {
        let Some(desk) = self.desks.get(level) else { return false };
        let wanted = desk.used + width;
        if desk.used == 0 || wanted <= desk.nominal {
            return true;
        }
        let others = self.desks.iter().filter(|(name, d)| *name != level && !d.level.exempt);
        let taken: u32 = others.map(|(_, d)| d.used.max(d.reserved())).sum();
        wanted <= desk.most(self.total) && wanted + taken <= self.total
    }

    /// A request has ended: those that may run now, in order.
    pub(super) fn finish(&mut self, level: &str, width: u32) -> Vec<Ticket> {
        if let Some(desk) = self.desks.get_mut(level) {
            desk.used = desk.used.saturating_sub(width);
        }
        let mut started = self.start(level);
        // What this level does not need others may borrow.
        let others: Vec<String> = self.desks.iter().filter(|(_, d)| d.is_waiting()).map(|(n, _)| n.clone()).collect();
        others.iter().for_each(|name| started.extend(self.start(name)));
        self.close();
        started
    }

    fn start(&mut self, level: &str) -> Vec<Ticket> {
        let mut started = Vec::new();
        while let Some((queue, width)) = self.desks.get(level).and_then(Desk::next) {
            if !self.fits(level, width) {
                break;
            }
            let Some(desk) = self.desks.get_mut(level) else { break };
            let Some(waiting) = desk.queues[queue].waiting.pop_front() else { break };
            desk.virtual_time = desk.virtual_time.max(waiting.start);
            desk.used += width;
            started.push(waiting.ticket);
        }
        started
    }

    /// A waiting request goes away. `false` if it no longer waits: it has been given its seats.
    pub(super) fn give_up(&mut self, level: &str, ticket: Ticket) -> bool {
        let Some(desk) = self.desks.get_mut(level) else { return false };
        for queue in &mut desk.queues {
            if let Some(at) = queue.waiting.iter().position(|w| w.ticket == ticket) {
                queue.waiting.remove(at);
                return true;
            }
        }
        false
    }

    pub(super) fn level(&self, name: &str) -> Option<&Level> {
        self.desks.get(name).map(|desk| &desk.level)
    }

    /// Of each level: name, its seats, seats in use, requests waiting.
    pub(super) fn report(&self) -> impl Iterator<Item = (&str, u32, u32, usize)> {
        self.desks
            .iter()
            .map(|(name, d)| (name.as_str(), d.nominal, d.used, d.queues.iter().map(|q| q.waiting.len()).sum()))
    }
}

/// `hand` different cards of a deck of `deck`, decided by `value` (shuffle sharding).
fn deal(mut value: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..deck).collect();
    (0..hand.min(deck))
        .map(|_| {
            let left = rest.len() as u64;
            let card = rest.remove((value % left) as usize);
            value /= left;
            card
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(shares: u32, response: Response) -> Level {
        Level { uid: String::new(), exempt: false, shares, lendable: 0, borrowing: None, response }
    }

    const QUEUE: Response = Response::Queue { queues: 8, hand: 2, length: 3 };

    fn seats(total: u32, levels: &[(&str, Level)]) -> Seats {
        let mut seats = Seats::new(total);
        seats.configure(levels.iter().map(|(name, level)| ((*name).to_owned(), level.clone())).collect());
        seats
    }

    #[test]
    fn shares_become_seats() {
        let seats = seats(600, &[("a", level(30, QUEUE)), ("b", level(10, QUEUE))]);
        let nominal: Vec<_> = seats.report().map(|(name, nominal, ..)| (name.to_owned(), nominal)).collect();
        assert_eq!(nominal, [("a".to_owned(), 450), ("b".to_owned(), 150)]);
    }

    #[test]
    fn a_full_level_queues_and_then_refuses() {
        let mut seats = seats(2, &[("a", level(1, QUEUE))]);
        let arrivals: Vec<_> = (0..10).map(|n| seats.arrive("a", 7, 1, n)).collect();
        // Two run, the flow's two queues hold three each.
        assert_eq!(arrivals[..2], [Arrival::Run; 2]);
        assert_eq!(arrivals[2..8], [Arrival::Wait; 6]);
        assert_eq!(arrivals[8..], [Arrival::Reject("queue-full"); 2]);
        assert_eq!(seats.finish("a", 1).len(), 1);
    }

    #[test]
    fn a_level_without_queues_refuses() {
        let mut seats = seats(1, &[("a", level(1, Response::Reject))]);
        assert_eq!(seats.arrive("a", 0, 1, 0), Arrival::Run);
        assert_eq!(seats.arrive("a", 0, 1, 1), Arrival::Reject("concurrency-limit"));
    }

    #[test]
    fn exempt_levels_always_run() {
        let exempt = Level { exempt: true, ..level(0, Response::Reject) };
        let mut seats = seats(1, &[("exempt", exempt), ("a", level(1, QUEUE))]);
        for n in 0..5 {
            assert_eq!(seats.arrive("exempt", 0, 1, n), Arrival::Run);
        }
        assert_eq!(seats.arrive("a", 0, 1, 9), Arrival::Run);
    }

    #[test]
    fn a_flood_does_not_hold_up_another_flow() {
        let wide = Response::Queue { queues: 64, hand: 4, length: 50 };
        let mut seats = seats(1, &[("a", level(1, wide))]);
        assert_eq!(seats.arrive("a", 1, 1, 0), Arrival::Run);
        for n in 1..100 {
            seats.arrive("a", 1, 1, n);
        }
        assert_eq!(seats.arrive("a", 987_654_321, 1, 1_000), Arrival::Wait);
        let order: Vec<Ticket> = (0..10).flat_map(|_| seats.finish("a", 1)).collect();
        assert!(order.contains(&1_000), "after ten of the flood the other flow still waits: {order:?}");
    }

    #[test]
    fn idle_seats_are_lent_and_reserved_ones_are_not() {
        let lender = Level { lendable: 50, ..level(1, QUEUE) };
        let mut seats = seats(20, &[("busy", level(1, QUEUE)), ("idle", lender)]);
        let running = (0..20).filter(|n| seats.arrive("busy", *n, 1, *n) == Arrival::Run).count();
        assert_eq!(running, 15, "ten of its own, five of the other's ten");
        assert_eq!(seats.arrive("idle", 0, 1, 100), Arrival::Run);
    }

    #[test]
    fn wide_requests_take_several_seats_and_run_alone_if_they_must() {
        let mut seats = seats(4, &[("a", level(1, QUEUE))]);
        assert_eq!(seats.arrive("a", 0, 10, 0), Arrival::Run);
        assert_eq!(seats.arrive("a", 1, 1, 1), Arrival::Wait);
        assert_eq!(seats.finish("a", 10), [1]);
    }

    #[test]
    fn who_gives_up_leaves_no_trace() {
        let mut seats = seats(1, &[("a", level(1, QUEUE))]);
        seats.arrive("a", 0, 1, 0);
        seats.arrive("a", 0, 1, 1);
        seats.arrive("a", 0, 1, 2);
        assert!(seats.give_up("a", 1));
        assert!(!seats.give_up("a", 1));
        assert_eq!(seats.finish("a", 1), [2]);
        assert!(seats.finish("a", 1).is_empty());
    }

    #[test]
    fn a_level_that_is_removed_serves_those_it_has() {
        let mut seats = seats(1, &[("a", level(1, QUEUE))]);
        seats.arrive("a", 0, 1, 0);
        seats.arrive("a", 0, 1, 1);
        seats.configure(BTreeMap::from([("b".to_owned(), level(1, QUEUE))]));
        assert_eq!(seats.finish("a", 1), [1]);
        assert!(seats.level("a").is_some());
        seats.finish("a", 1);
        assert!(seats.level("a").is_none());
    }

    #[test]
    fn hands_have_no_card_twice() {
        for value in [0, 1, 12_345, u64::MAX] {
            let mut hand = deal(value, 64, 6);
            hand.sort_unstable();
            hand.dedup();
            assert_eq!(hand.len(), 6);
        }
        assert_eq!(deal(5, 2, 8).len(), 2);
    }
}

//! The queues of one priority level: a pure state that is told the time (KEP-1040).
//!
//! Queues are served fairly in a virtual time (`R`), in which every queue with work progresses at the same rate. A queue's next request is
//! dispatched when its virtual finish is the lowest of all; what it turns out to have taken is settled when it ends. A flow is dealt a
//! small hand of the queues and takes the shortest: a flow that floods fills its own hand, and few other flows share all of it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::schema::FlowSchema;
use crate::request_info::RequestInfo;

/// What happens to requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    Reject,
    Queue { queues: usize, hand: usize, length: usize },
}

/// Names a request at the gate.
pub(super) type Ticket = u64;

/// What a request is taken to last until it has ended.
const GUESS: Duration = Duration::from_millis(3);

/// A request at the gate.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) schema: Arc<FlowSchema>,
    pub(super) user: String,
    pub(super) info: Arc<RequestInfo>,
    /// How many seats it takes.
    pub(super) width: u32,
    pub(super) arrived: Timestamp,
}

/// Work: seats times seconds, in units of 10⁻⁸.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeatSeconds(u64);

impl SeatSeconds {
    const SCALE: u64 = 100_000_000;

    fn new(seats: f64, time: Duration) -> SeatSeconds {
        SeatSeconds((seats * time.as_secs_f64() * Self::SCALE as f64).round() as u64)
    }

    fn plus(self, more: SeatSeconds) -> SeatSeconds {
        SeatSeconds(self.0.saturating_add(more.0))
    }

    fn minus(self, less: SeatSeconds) -> SeatSeconds {
        SeatSeconds(self.0.saturating_sub(less.0))
    }
}

impl fmt::Display for SeatSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08}ss", self.0 / Self::SCALE, self.0 % Self::SCALE)
    }
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) request: Request,
    /// The virtual time of its arrival: it is not dispatched before that.
    arrived: SeatSeconds,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) request: Request,
    /// Where it waited, if the level has queues.
    pub(super) queue: Option<usize>,
    pub(super) started: Timestamp,
    since: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) executing: u32,
    pub(super) seats: u32,
    /// The virtual start of its next request.
    pub(super) next_dispatch: SeatSeconds,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }

    pub(super) fn seats_waiting(&self) -> u32 {
        self.waiting.iter().map(|w| w.request.width).sum()
    }

    /// The guess of all that waits.
    pub(super) fn work_waiting(&self) -> SeatSeconds {
        guess(self.seats_waiting())
    }

    /// A queue that couldn't use its part of the seats does not get it later: nothing is dispatched, virtually, before it arrived.
    fn bound(&mut self) {
        if let Some(first) = self.waiting.front() {
            self.next_dispatch = self.next_dispatch.max(first.arrived);
        }
    }
}

fn guess(width: u32) -> SeatSeconds {
    SeatSeconds::new(f64::from(width), GUESS)
}

/// How many requests of a level there were since the start of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) dispatched: u64,
    pub(super) rejected: u64,
    pub(super) timed_out: u64,
    pub(super) cancelled: u64,
}

/// Why a request stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    TimedOut,
    Cancelled,
}

/// The queues and seats of a level.
#[derive(Debug)]
pub(super) struct QueueSet {
    /// `None`: its requests always run.
    response: Option<Response>,
    /// The seats that it may use now.
    limit: u32,
    pub(super) queues: Vec<Queue>,
    pub(super) running: BTreeMap<Ticket, Running>,
    pub(super) counts: Counts,
    seats_in_use: u32,
    waiting: usize,
    seats_waiting: u32,
    virtual_now: SeatSeconds,
    as_of: Instant,
    /// Where the look for a hand's shortest queue begins, so that equal ones take turns.
    dealt: usize,
    /// The queue that was served last: those behind it go first among equals.
    served: usize,
}

impl QueueSet {
    pub(super) fn new(response: Option<Response>, now: Instant) -> QueueSet {
        let mut set = QueueSet {
            response: None,
            limit: 0,
            queues: Vec::new(),
            running: BTreeMap::new(),
            counts: Counts::default(),
            seats_in_use: 0,
            waiting: 0,
            seats_waiting: 0,
            virtual_now: SeatSeconds::default(),
            as_of: now,
            dealt: 0,
            served: 0,
        };
        set.configure(response);
        set
    }

    /// Requests that run or wait stay where they are: queues that are too many go when they are empty.
    pub(super) fn configure(&mut self, response: Option<Response>) {
        self.response = response;
        self.queues.resize_with(self.queues.len().max(self.wanted()), Queue::default);
        self.trim();
    }

    fn wanted(&self) -> usize {
        match self.response {
            Some(Response::Queue { queues, .. }) => queues.max(1),
            _ => 0,
        }
    }

    fn trim(&mut self) {
        while self.queues.len() > self.wanted() && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0 && self.running.is_empty()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn seats_in_use(&self) -> u32 {
        self.seats_in_use
    }

    /// Seats in use and asked for.
    pub(super) fn demand(&self) -> u32 {
        self.seats_in_use + self.seats_waiting
    }

    /// Whether its flows are told apart.
    pub(super) fn has_flows(&self) -> bool {
        self.wanted() > 1
    }

    /// Brings the virtual time up to now. To be called before anything changes.
    fn sync(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of);
        self.as_of = now;
        let active = self.queues.iter().filter(|q| !q.is_idle()).count();
        if active > 0 {
            let rate = f64::from(self.demand().min(self.limit)) / active as f64;
            self.virtual_now = self.virtual_now.plus(SeatSeconds::new(rate, passed));
        }
    }

    /// Who runs now that the level may use `limit` seats.
    pub(super) fn set_limit(&mut self, limit: u32, now: Instant) -> Vec<Ticket> {
        self.sync(now);
        self.limit = limit;
        self.dispatch(now)
    }

    /// A request arrives: those that run now, which may not be itself.
    ///
    /// # Errors
    /// The request is refused; upstream's word for the reason, as metrics have it.
    pub(super) fn arrive(
        &mut self,
        flow: u64,
        request: Request,
        ticket: Ticket,
        now: Instant,
    ) -> Result<Vec<Ticket>, &'static str> {
        self.sync(now);
        let Some(Response::Queue { queues, hand, length }) = self.response else {
            if self.response.is_some() && !self.fits(request.width) {
                self.counts.rejected += 1;
                return Err("concurrency-limit");
            }
            self.run(ticket, request, None, now);
            return Ok(vec![ticket]);
        };
        let shortest = self.shortest(&deal(flow, queues.max(1), hand.max(1)));
        if self.seats_in_use >= self.limit && self.queues[shortest].waiting.len() >= length {
            self.counts.rejected += 1;
            return Err("queue-full");
        }
        let queue = &mut self.queues[shortest];
        if queue.is_idle() {
            queue.next_dispatch = self.virtual_now;
        }
        self.waiting += 1;
        self.seats_waiting += request.width;
        queue.waiting.push_back(Waiting { ticket, request, arrived: self.virtual_now });
        Ok(self.dispatch(now))
    }

    fn shortest(&mut self, hand: &[usize]) -> usize {
        let offset = self.dealt % hand.len();
        self.dealt = self.dealt.wrapping_add(1);
        let (before, from) = hand.split_at(offset);
        let cards = from.iter().chain(before).copied();
        cards.min_by_key(|card| self.queues[*card].seats_waiting()).unwrap_or_default()
    }

    /// Whether `width` more seats are free. A request that is wider than the level runs alone.
    fn fits(&self, width: u32) -> bool {
        if width > self.limit { self.running.is_empty() } else { self.seats_in_use + width <= self.limit }
    }

    fn run(&mut self, ticket: Ticket, request: Request, queue: Option<usize>, now: Instant) {
        self.counts.dispatched += 1;
        self.seats_in_use += request.width;
        let running = Running { request, queue, started: component_base::clock::now(), since: now };
        self.running.insert(ticket, running);
    }

    /// The queue to serve next: that of the lowest virtual finish.
    fn next(&self) -> Option<usize> {
        let count = self.queues.len();
        let finish = |index: &usize| {
            let queue = &self.queues[*index];
            queue.next_dispatch.plus(queue.waiting.front().map(|w| guess(w.request.width)).unwrap_or_default())
        };
        let order = (1..=count).map(|step| (self.served + step) % count);
        order.filter(|index| !self.queues[*index].waiting.is_empty()).min_by_key(finish)
    }

    fn dispatch(&mut self, now: Instant) -> Vec<Ticket> {
        let mut started = Vec::new();
        while self.waiting > 0 {
            let Some(index) = self.next() else { break };
            let Some(width) = self.queues[index].waiting.front().map(|w| w.request.width) else { break };
            if !self.fits(width) {
                break;
            }
            self.served = index;
            let queue = &mut self.queues[index];
            let Some(waiting) = queue.waiting.pop_front() else { break };
            queue.executing += 1;
            queue.seats += width;
            queue.next_dispatch = queue.next_dispatch.plus(guess(width));
            queue.bound();
            self.waiting -= 1;
            self.seats_waiting -= width;
            started.push(waiting.ticket);
            self.run(waiting.ticket, waiting.request, Some(index), now);
        }
        started
    }

    /// A request has ended: those that run now, in order.
    pub(super) fn finish(&mut self, ticket: Ticket, now: Instant) -> Vec<Ticket> {
        self.sync(now);
        let Some(Running { request, queue, since, .. }) = self.running.remove(&ticket) else { return Vec::new() };
        self.seats_in_use -= request.width;
        if let Some(queue) = queue.and_then(|index| self.queues.get_mut(index)) {
            queue.executing -= 1;
            queue.seats -= request.width;
            let took = SeatSeconds::new(f64::from(request.width), now.saturating_duration_since(since));
            queue.next_dispatch = queue.next_dispatch.plus(took).minus(guess(request.width));
            queue.bound();
        }
        let started = self.dispatch(now);
        self.trim();
        started
    }

    /// A waiting request goes away. `false` if it no longer waits: it has been given its seats.
    pub(super) fn give_up(&mut self, ticket: Ticket, why: Leaving, now: Instant) -> bool {
        self.sync(now);
        let found = self.queues.iter_mut().find_map(|queue| {
            let at = queue.waiting.iter().position(|w| w.ticket == ticket)?;
            let gone = queue.waiting.remove(at)?;
            queue.bound();
            Some(gone.request.width)
        });
        let Some(width) = found else { return false };
        self.waiting -= 1;
        self.seats_waiting -= width;
        match why {
            Leaving::TimedOut => self.counts.timed_out += 1,
            Leaving::Cancelled => self.counts.cancelled += 1,
        }
        self.trim();
        true
    }
}

/// `hand` different cards of a deck of `deck`, decided by `value` (shuffle sharding).
fn deal(mut value: u64, deck: usize, hand: usize) -> Vec<usize> {
    let hand = hand.min(deck);
    // The cards dealt, in the order of their numbers: a number drawn is one among the cards that are left.
    let mut dealt: Vec<usize> = Vec::with_capacity(hand);
    (0..hand)
        .map(|taken| {
            let left = (deck - taken) as u64;
            let mut card = (value % left) as usize;
            value /= left;
            let mut at = 0;
            while at < dealt.len() && dealt[at] <= card {
                card += 1;
                at += 1;
            }
            dealt.insert(at, card);
            card
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Response = Response::Queue { queues: 8, hand: 2, length: 3 };

    fn set(response: Response, limit: u32) -> QueueSet {
        let mut set = QueueSet::new(Some(response), Instant::now());
        set.set_limit(limit, Instant::now());
        set
    }

    fn request(width: u32) -> Request {
        let schema = FlowSchema {
            name: "s".into(),
            uid: String::new(),
            level: "a".into(),
            precedence: 1,
            distinguisher: None,
            rules: Vec::new(),
        };
        Request {
            schema: Arc::new(schema),
            user: "ann".into(),
            info: Arc::default(),
            width,
            arrived: Timestamp::UNIX_EPOCH,
        }
    }

    fn arrive(set: &mut QueueSet, flow: u64, width: u32, ticket: Ticket) -> Result<Vec<Ticket>, &'static str> {
        set.arrive(flow, request(width), ticket, Instant::now())
    }

    fn finish(set: &mut QueueSet, ticket: Ticket) -> Vec<Ticket> {
        set.finish(ticket, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_level_queues_and_then_refuses() {
        let mut set = set(QUEUE, 2);
        let arrivals: Vec<_> = (0..10).map(|n| arrive(&mut set, 7, 1, n)).collect();
        // Two run, the flow's two queues hold three each.
        assert_eq!(arrivals[..2], [Ok(vec![0]), Ok(vec![1])]);
        assert!(arrivals[2..8].iter().all(|a| *a == Ok(vec![])), "{arrivals:?}");
        assert_eq!(arrivals[8..], [Err("queue-full"), Err("queue-full")]);
        assert_eq!(finish(&mut set, 0), [2]);
        assert_eq!(set.counts, Counts { dispatched: 3, rejected: 2, ..Counts::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_without_queues_refuses() {
        let mut set = set(Response::Reject, 1);
        assert_eq!(arrive(&mut set, 0, 1, 0), Ok(vec![0]));
        assert_eq!(arrive(&mut set, 0, 1, 1), Err("concurrency-limit"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_does_not_hold_up_another_flow() {
        let mut set = set(Response::Queue { queues: 64, hand: 4, length: 50 }, 1);
        for n in 0..100 {
            let _queued = arrive(&mut set, 1, 1, n);
        }
        assert_eq!(arrive(&mut set, 987_654_321, 1, 1_000), Ok(vec![]));
        let mut running = 0;
        for _ in 0..10 {
            tokio::time::advance(Duration::from_millis(5)).await;
            running = finish(&mut set, running)[0];
            if running == 1_000 {
                return;
            }
        }
        panic!("after ten of the flood the other flow still waits");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_longer_is_served_less() {
        let mut set = set(Response::Queue { queues: 2, hand: 1, length: 50 }, 1);
        // Flow 0 has even tickets, flow 1 odd ones.
        for n in 0..80 {
            assert!(arrive(&mut set, n % 2, 1, n).is_ok());
        }
        let (mut running, mut served) = (0, [0, 0]);
        for _ in 0..40 {
            let slow = running % 2 == 0;
            tokio::time::advance(Duration::from_millis(if slow { 30 } else { 10 })).await;
            served[(running % 2) as usize] += 1;
            running = finish(&mut set, running)[0];
        }
        assert!(
            (9..=11).contains(&served[0]),
            "a request of three times the time is served a third as often: {served:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn wide_requests_take_several_seats_and_run_alone_if_they_must() {
        let mut set = set(QUEUE, 4);
        assert_eq!(arrive(&mut set, 0, 10, 0), Ok(vec![0]));
        assert_eq!(arrive(&mut set, 1, 1, 1), Ok(vec![]));
        assert_eq!(finish(&mut set, 0), [1]);
        assert_eq!(arrive(&mut set, 0, 3, 2), Ok(vec![2]));
        assert_eq!(set.seats_in_use(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_no_trace() {
        let mut set = set(QUEUE, 1);
        for ticket in 0..3 {
            assert!(arrive(&mut set, 0, 1, ticket).is_ok());
        }
        assert!(set.give_up(1, Leaving::TimedOut, Instant::now()));
        assert!(!set.give_up(1, Leaving::Cancelled, Instant::now()));
        assert_eq!(set.demand(), 2);
        assert_eq!(finish(&mut set, 0), [2]);
        assert!(finish(&mut set, 2).is_empty() && set.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn queues_that_are_too_many_go_when_they_are_empty() {
        let mut set = set(Response::Queue { queues: 4, hand: 1, length: 5 }, 1);
        assert_eq!((arrive(&mut set, 3, 1, 0), arrive(&mut set, 3, 1, 1)), (Ok(vec![0]), Ok(vec![])));
        set.configure(Some(Response::Queue { queues: 2, hand: 1, length: 5 }));
        assert_eq!(set.queues.len(), 4);
        assert_eq!(finish(&mut set, 0), [1]);
        finish(&mut set, 1);
        assert_eq!(set.queues.len(), 2);
    }

    #[test]
    fn hands_are_dealt_from_the_cards_that_are_left() {
        let slowly = |mut value: u64, deck: usize, hand: usize| {
            let mut rest: Vec<usize> = (0..deck).collect();
            let mut draw = || {
                let left = rest.len() as u64;
                let card = rest.remove((value % left) as usize);
                value /= left;
                card
            };
            (0..hand.min(deck)).map(|_| draw()).collect::<Vec<_>>()
        };
        for value in [0, 1, 12_345, 0x1234_5678_9abc_def0, u64::MAX] {
            for (deck, hand) in [(64, 6), (128, 8), (8, 8), (2, 8), (1, 1)] {
                assert_eq!(deal(value, deck, hand), slowly(value, deck, hand), "{value} {deck} {hand}");
            }
        }
    }

    #[test]
    fn work_is_printed_in_seat_seconds() {
        assert_eq!(SeatSeconds::new(270.0, GUESS).to_string(), "0.81000000ss");
        assert_eq!(SeatSeconds(7_764_342_019).to_string(), "77.64342019ss");
    }
}

//! Priority and fairness: which requests run now, which wait, and which are refused with 429 (KEP-1040).
//!
//! A flow schema says to which priority level a request belongs, and to which flow there. Levels have their own seats, so that one kind of
//! client can't starve another; flows of a level are served fairly, so that one client can't starve its like. [`seats`] is the decision,
//! this file lets requests wait for it.

mod dump;
mod limits;
mod metrics;
mod queues;
mod schema;
mod seats;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::{sync::oneshot, time::Instant};

pub use queues::Response;
pub use schema::{Distinguisher, FlowSchema, PathRule, PolicyRule, ResourceRule, Subject};
pub use seats::Level;

use crate::{
    error::{Error, Result},
    query::Query,
    request_info::RequestInfo,
    user::{MASTERS, UserInfo},
};
use metrics::{Dispatched, Metrics};
use queues::{Leaving, Request, Ticket};
use seats::{Arrival, Seats};

/// No request waits longer for its seats (a quarter of the usual deadline, as upstream).
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// How often levels lend each other seats anew.
const ADJUSTMENT: Duration = Duration::from_secs(10);
/// The level of requests that no schema matches.
const CATCH_ALL: &str = "catch-all";
const EXEMPT: &str = "exempt";

/// Schemas and levels.
#[derive(Clone, Debug)]
pub struct Config {
    pub schemas: Vec<FlowSchema>,
    pub levels: BTreeMap<String, Level>,
}

impl Default for Config {
    /// What holds before the objects are known: administrators always, everybody else in turn.
    fn default() -> Self {
        let everything = PolicyRule {
            subjects: vec![Subject::Group(MASTERS.to_owned())],
            resources: vec![ResourceRule {
                verbs: vec!["*".into()],
                groups: vec!["*".into()],
                resources: vec!["*".into()],
                cluster_scope: true,
                namespaces: vec!["*".into()],
            }],
            paths: vec![PathRule { verbs: vec!["*".into()], paths: vec!["*".into()] }],
        };
        let schema = |name: &str, subject: Subject, precedence| FlowSchema {
            name: name.to_owned(),
            uid: String::new(),
            level: name.to_owned(),
            precedence,
            distinguisher: None,
            rules: vec![PolicyRule { subjects: vec![subject], ..everything.clone() }],
        };
        let level = Level {
            uid: String::new(),
            exempt: false,
            shares: 5,
            lendable: 0,
            borrowing: None,
            response: Response::Reject,
        };
        Config {
            schemas: vec![
                schema(EXEMPT, Subject::Group(MASTERS.to_owned()), 1),
                schema(CATCH_ALL, Subject::User("*".into()), 10_000),
            ],
            levels: BTreeMap::from([
                (EXEMPT.to_owned(), Level { exempt: true, shares: 0, ..level.clone() }),
                (CATCH_ALL.to_owned(), level),
            ]),
        }
    }
}

/// A schema, and what its requests count in.
struct Route {
    schema: Arc<FlowSchema>,
    dispatched: Dispatched,
}

struct State {
    routes: Arc<[Route]>,
    seats: Seats,
    waiting: BTreeMap<Ticket, oneshot::Sender<()>>,
    next: Ticket,
}

impl State {
    /// Lets those go on that were given their seats.
    fn wake(&mut self, started: Vec<Ticket>) {
        for ticket in started {
            // One that has just gone notices by itself that it was given seats, and returns them.
            if let Some(seated) = self.waiting.remove(&ticket) {
                let _gone = seated.send(());
            }
        }
    }
}

/// The gate that requests pass.
pub struct Fairness {
    state: Mutex<State>,
    metrics: Metrics,
}

/// The right to run, given back when dropped.
pub struct Admission {
    gate: Arc<Fairness>,
    level: String,
    ticket: Ticket,
    /// What the answer's headers tell: the schema's and the level's uid.
    pub schema_uid: String,
    pub level_uid: String,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.gate.finish(&self.level, self.ticket);
    }
}

/// Gives a waiting request's place up if the request goes away meanwhile.
struct Place<'a> {
    gate: &'a Fairness,
    level: &'a str,
    ticket: Ticket,
    seated: bool,
    /// Why it goes away, if it does.
    leaving: Leaving,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.seated {
            return;
        }
        let mut state = self.gate.state.lock();
        state.waiting.remove(&self.ticket);
        // It may have been given its seats at this very moment.
        let waited = state.seats.give_up(self.level, self.ticket, self.leaving, Instant::now());
        drop(state);
        if !waited {
            self.gate.finish(self.level, self.ticket);
        }
    }
}

impl Fairness {
    /// `seats` is how many requests of a seat each run at once.
    pub fn new(seats: u32) -> Arc<Fairness> {
        let state = State { routes: [].into(), seats: Seats::new(seats), waiting: BTreeMap::new(), next: 0 };
        let gate = Fairness { state: Mutex::new(state), metrics: Metrics::default() };
        gate.configure(Config::default());
        Arc::new(gate)
    }

    /// Takes over new schemas and levels. Where the mandatory ones are missing they are as in [`Config::default`].
    pub fn configure(&self, config: Config) {
        let mandatory = Config::default();
        let Config { mut schemas, mut levels } = config;
        for (name, level) in mandatory.levels {
            levels.entry(name).or_insert(level);
        }
        let missing = mandatory.schemas.into_iter().filter(|m| !schemas.iter().any(|s| s.name == m.name));
        let missing: Vec<_> = missing.collect();
        schemas.extend(missing);
        // A schema whose level is not there matches nothing.
        schemas.retain(|schema| levels.contains_key(&schema.level));
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        let route = |schema: FlowSchema| {
            let dispatched = self.metrics.of_schema(&schema.name, &schema.level);
            Route { schema: Arc::new(schema), dispatched }
        };
        let mut state = self.state.lock();
        state.routes = schemas.into_iter().map(route).collect();
        let started = state.seats.configure(levels, Instant::now());
        state.wake(started);
    }

    /// Lets levels lend each other seats, from time to time. Never ends.
    pub async fn keep_adjusting(&self) {
        loop {
            tokio::time::sleep(ADJUSTMENT).await;
            let mut state = self.state.lock();
            let started = state.seats.adjust(Instant::now());
            state.wake(started);
        }
    }

    /// Brings the gauges of the levels up to date.
    pub fn report(&self) {
        self.metrics.levels(self.state.lock().seats.desks());
    }

    /// Text about levels, queues or requests, if the path is that of such a dump.
    pub fn dump(&self, path: &str, query: &Query) -> Option<String> {
        dump::of(path, query, &self.state.lock().seats)
    }

    /// Waits for the request's turn. `width` is how many seats it asks for.
    ///
    /// # Errors
    /// 429 when its level has no room, or the wait was too long.
    pub async fn admit(self: &Arc<Self>, info: &Arc<RequestInfo>, user: &UserInfo, width: u32) -> Result<Admission> {
        let routes = Arc::clone(&self.state.lock().routes);
        let Some(Route { schema, dispatched }) = routes.iter().find(|route| route.schema.matches(info, user)) else {
            return Err(too_many());
        };
        let flow = hash(&schema.name, schema.flow(info, &user.name));
        let began = Instant::now();
        let request = Request {
            schema: Arc::clone(schema),
            user: user.name.clone(),
            info: Arc::clone(info),
            width,
            arrived: component_base::clock::now(),
        };
        let level_uid;
        let (ticket, ended) = {
            let mut state = self.state.lock();
            let ticket = state.next;
            state.next += 1;
            level_uid = state.seats.level(&schema.level).map(|level| level.uid.clone()).unwrap_or_default();
            match state.seats.arrive(&schema.level, flow, request, ticket, began) {
                Arrival::Rejected(reason) => {
                    self.metrics.reject(&schema.name, &schema.level, reason);
                    return Err(too_many());
                }
                Arrival::Started(started) if started == [ticket] => (ticket, None),
                Arrival::Started(started) => {
                    let (seated, ended) = oneshot::channel();
                    state.waiting.insert(ticket, seated);
                    state.wake(started);
                    (ticket, Some(ended))
                }
            }
        };
        if let Some(ended) = ended {
            self.wait(schema, ticket, ended).await?;
        }
        dispatched.record(began.elapsed());
        let (level, schema_uid) = (schema.level.clone(), schema.uid.clone());
        Ok(Admission { gate: Arc::clone(self), level, ticket, schema_uid, level_uid })
    }

    async fn wait(&self, schema: &FlowSchema, ticket: Ticket, ended: oneshot::Receiver<()>) -> Result<()> {
        let leaving = Leaving::Cancelled;
        let mut place = Place { gate: self, level: &schema.level, ticket, seated: false, leaving };
        place.seated = matches!(tokio::time::timeout(LONGEST_WAIT, ended).await, Ok(Ok(())));
        if place.seated {
            return Ok(());
        }
        place.leaving = Leaving::TimedOut;
        self.metrics.reject(&schema.name, &schema.level, "time-out");
        Err(too_many())
    }

    fn finish(&self, level: &str, ticket: Ticket) {
        let mut state = self.state.lock();
        let started = state.seats.finish(level, ticket, Instant::now());
        state.wake(started);
    }
}

fn too_many() -> Error {
    Error::too_many_requests("Too many requests, please try again later.", 1)
}

/// A number that differs between flows, and is the same on every server.
fn hash(schema: &str, flow: &str) -> u64 {
    let digest = Sha256::new().chain_update(schema).chain_update([0]).chain_update(flow).finalize();
    u64::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

#[cfg(test)]
mod tests;

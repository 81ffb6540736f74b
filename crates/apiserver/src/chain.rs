//! The path of every request, from the connection to its answer: one function that stacks the filters.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use futures::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use crate::{
    audit::{self, Auditor, Record},
    authn::{Anonymous, Authenticator, TrustedIdentity},
    authz::{Attributes, Authorizer, Decision, Verdict},
    discovery, documents,
    error::{Error, Result},
    fairness::{Admission, Fairness},
    metrics::{DurationLabels, RequestLabels},
    query::Query,
    request_info::RequestInfo,
    respond,
    server::{Body, Call, Core, RequestBody},
    snapshot, storage_metrics,
    user::{ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS, MASTERS, UserInfo},
    verbs,
    warnings::Warnings,
};

/// How many requests are served at once, by kind of verb; long-running ones are not counted.
pub struct Limits {
    /// `None`: no limit.
    pub reading: Option<Semaphore>,
    pub mutating: Option<Semaphore>,
}

impl Limits {
    /// 0 stands for no limit.
    pub fn new(reading: usize, mutating: usize) -> Limits {
        let limit = |n: usize| (n > 0).then(|| Semaphore::new(n));
        Limits { reading: limit(reading), mutating: limit(mutating) }
    }

    fn of(&self, info: &RequestInfo) -> Option<&Semaphore> {
        match info.verb.as_str() {
            "get" | "list" | "watch" => self.reading.as_ref(),
            _ => self.mutating.as_ref(),
        }
    }
}

/// What bounds the requests that run at once.
pub enum Gate {
    /// Priority and fairness.
    Fair(Arc<Fairness>),
    /// Without it: a number each for reads and writes. Administrators are let through, so that an overloaded server can be repaired.
    InFlight(Limits),
}

/// Held while a request runs.
enum Running<'a> {
    Seats { _admission: Admission },
    Permit { _permit: SemaphorePermit<'a> },
    Free,
}

/// What the audit log says of authorization.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

/// What is found out about a request on its way.
struct Trace {
    id: String,
    /// Uids of its flow schema and priority level, for the answer's headers.
    flow: OnceLock<[String; 2]>,
    record: OnceLock<Arc<Record>>,
}

const FLOW_HEADERS: [&str; 2] = ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"];

/// Objects of a list that cost as much as one more request, and the most that a request counts for (upstream's numbers).
const OBJECTS_PER_SEAT: usize = 100;
const MOST_SEATS: usize = 10;

/// Acting as another user.
#[async_trait]
pub trait Impersonator: Send + Sync + 'static {
    /// The user to act as, if the request asks and `user` may; strips the headers.
    async fn impersonate(
        &self,
        authorizer: &dyn Authorizer,
        user: &UserInfo,
        request: &mut Parts,
    ) -> Result<Option<UserInfo>>;
}

/// Documents at paths that are no resources: (content type, body).
pub type Documents = Arc<dyn Fn(&str) -> Option<(&'static str, bytes::Bytes)> + Send + Sync>;

/// The server: core and filters.
pub struct Server {
    pub core: Arc<Core>,
    pub authenticator: Arc<dyn Authenticator>,
    pub impersonator: Arc<dyn Impersonator>,
    pub anonymous: Anonymous,
    /// The deadline of requests that are not long-running.
    pub request_timeout: Duration,
    /// `host:port` that legacy discovery names.
    pub advertised: String,
    pub documents: Documents,
    /// `Origin`s that browsers may send requests from.
    pub cors: Vec<regex::Regex>,
    /// Tells of requests.
    pub audit: Option<Arc<Auditor>>,
}

impl Server {
    /// Answers one request. Never fails and never panics.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        // What the request is about: every later filter speaks in these words.
        let query = Query::of(request.uri());
        let info = Arc::new(RequestInfo::parse(request.method(), request.uri().path(), &query));
        let started = Instant::now();
        let headers = request.headers().clone();
        let warnings = Warnings::default();
        let long_running = info.is_long_running();

        // A deadline, so that a stuck store or hook can't hold a client for ever.
        let trace = Trace { id: audit_id(&headers), flow: OnceLock::new(), record: OnceLock::new() };
        let served = self.admit(request, Arc::clone(&info), query.clone(), warnings.clone(), &trace).boxed();
        let limited = async {
            if long_running {
                return served.await;
            }
            let limit = deadline(&query, self.request_timeout);
            tokio::time::timeout(limit, served)
                .await
                .unwrap_or_else(|_| Err(Error::timeout("request did not complete within the allotted timeout", 0)))
        };
        // A panic answers 500 and harms nobody else.
        let mut panicked = false;
        let outcome = AssertUnwindSafe(limited).catch_unwind().await.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            tracing::error!(path = %info.path, verb = %info.verb, panic = text.unwrap_or("?"), "request handler panicked");
            if let Some(record) = trace.record.get() {
                record.panicked(text.unwrap_or("?"));
            }
            panicked = true;
            Err(Error::internal("this request caused apiserver to panic. Look in the logs for details."))
        });
        let mut response = outcome.unwrap_or_else(|error| {
            if error.code >= 500 {
                tracing::warn!(path = %info.path, verb = %info.verb, %error, "request failed");
            }
            respond::error(&error, &headers)
        });

        warnings.write(response.headers_mut());
        for (name, uid) in FLOW_HEADERS.iter().zip(trace.flow.get().into_iter().flatten().filter(|uid| !uid.is_empty()))
        {
            if let Ok(value) = HeaderValue::from_str(uid) {
                response.headers_mut().insert(*name, value);
            }
        }
        if let Ok(value) = HeaderValue::from_str(&trace.id) {
            response.headers_mut().insert("audit-id", value);
        }
        if let Some(record) = trace.record.into_inner().filter(|_| !panicked) {
            response = record.finish(response).await;
        }
        self.allow_origin(&headers, &mut response);
        self.count(&info, &response, started, long_running);
        response
    }

    /// From credentials to the answer.
    async fn admit(
        &self,
        request: Request<Body>,
        info: Arc<RequestInfo>,
        query: Query,
        warnings: Warnings,
        trace: &Trace,
    ) -> Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        // Who is it? Before anything that costs or tells something.
        let user = match self.identify(&parts).await {
            Ok(user) => user,
            Err(error) => {
                let nobody = self.audit.as_ref().and_then(|audit| audit.begin(&parts, &info, None, &trace.id));
                nobody.inspect(|record| record.unauthenticated());
                return Err(error);
            }
        };
        let record = self.audit.as_ref().and_then(|audit| audit.begin(&parts, &info, Some(&user), &trace.id));
        if let Some(record) = &record {
            let _first = trace.record.set(Arc::clone(record));
            record.received()?;
        }
        let request = Request::from_parts(parts, body);
        let work = self.serve(request, info, query, user, warnings, trace);
        audit::within(record, work).await
    }

    /// For an authenticated user.
    async fn serve(
        &self,
        request: Request<Body>,
        info: Arc<RequestInfo>,
        query: Query,
        user: UserInfo,
        warnings: Warnings,
        trace: &Trace,
    ) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        // Acting as somebody else, if allowed: all that follows is about that user.
        let impersonated = self.impersonator.impersonate(self.core.authorizer.as_ref(), &user, &mut parts).await?;
        let record = trace.record.get();
        let user = match impersonated.map(with_authenticated) {
            Some(other) => {
                record.inspect(|record| record.impersonated(&other));
                other
            }
            None => user,
        };
        // A bounded number at once, in a fair order; before authorization, which costs too.
        let _running = self.enter(&info, &user, &trace.flow).await?;
        // May they? Before routing, so that 404 tells nothing to strangers.
        self.authorize(&info, &query, &user).await?;
        let body = match record.filter(|_| self.core.aggregation.of_request(&info).is_none()) {
            Some(record) => record.capture(&parts.headers, body).await?,
            None => body,
        };
        let request = Request::from_parts(parts, body);
        self.route(request, info, query, user, warnings).boxed().await
    }

    async fn identify(&self, parts: &Parts) -> Result<UserInfo> {
        if let Some(TrustedIdentity(user)) = parts.extensions.get() {
            return Ok(with_authenticated(user.clone()));
        }
        match self.authenticator.authenticate(parts).await {
            Ok(Some(user)) => Ok(with_authenticated(user)),
            Ok(None) if self.anonymous.may_ask(parts.uri.path()) => {
                Ok(UserInfo::new(ANONYMOUS, &[ALL_UNAUTHENTICATED]))
            }
            Ok(None) => Err(Error::unauthorized()),
            Err(error) => {
                tracing::info!(%error, "authentication failed");
                Err(Error::unauthorized())
            }
        }
    }

    async fn enter(
        &self,
        info: &Arc<RequestInfo>,
        user: &UserInfo,
        flow: &OnceLock<[String; 2]>,
    ) -> Result<Running<'_>> {
        // A watch is counted until it has begun.
        if info.is_long_running() && info.verb != "watch" {
            return Ok(Running::Free);
        }
        match &self.core.gate {
            Gate::Fair(fairness) => {
                let admission = fairness.admit(info, user, self.width(info)).await?;
                let _first = flow.set([admission.schema_uid.clone(), admission.level_uid.clone()]);
                Ok(Running::Seats { _admission: admission })
            }
            Gate::InFlight(_) if info.is_long_running() || user.in_group(MASTERS) => Ok(Running::Free),
            Gate::InFlight(limits) => match limits.of(info).map(Semaphore::try_acquire) {
                None => Ok(Running::Free),
                Some(Ok(permit)) => Ok(Running::Permit { _permit: permit }),
                Some(Err(_)) => Err(Error::too_many_requests("Too many requests, please try again later.", 1)),
            },
        }
    }

    /// How many seats the request takes.
    fn width(&self, info: &RequestInfo) -> u32 {
        if info.verb != "list" || !info.name.is_empty() {
            return 1;
        }
        let resource = self.core.resource_of(info).ok();
        let objects = resource.and_then(|r| r.stored.as_ref().map(|s| s.cache.len())).unwrap_or(0);
        objects.div_ceil(OBJECTS_PER_SEAT).clamp(1, MOST_SEATS) as u32
    }

    async fn authorize(&self, info: &RequestInfo, query: &Query, user: &UserInfo) -> Result<()> {
        let attributes = Attributes {
            user: user.clone(),
            verb: info.verb.clone(),
            namespace: info.namespace.clone(),
            group: info.group.clone(),
            version: info.version.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            name: info.name.clone(),
            path: info.path.clone(),
            is_resource: info.is_resource,
            field_selector: query.text("fieldSelector").to_owned(),
        };
        let decision = self.core.authorizer.authorize(&attributes).await;
        match decision {
            Decision { verdict: Verdict::Allow, reason, .. } => {
                audit::annotate(DECISION, "allow");
                audit::annotate(REASON, &reason);
                Ok(())
            }
            Decision { error: Some(why), .. } => {
                audit::annotate(REASON, "internal error");
                Err(Error::internal(format!("Internal Server Error: {:?}: {why}", attributes.path)))
            }
            Decision { reason, .. } => {
                audit::annotate(DECISION, "forbid");
                audit::annotate(REASON, &reason);
                Err(forbidden(&attributes, &reason))
            }
        }
    }

    async fn route(
        &self,
        request: Request<Body>,
        info: Arc<RequestInfo>,
        query: Query,
        user: UserInfo,
        warnings: Warnings,
    ) -> Result<Response<Body>> {
        if let Some(delegate) = self.core.aggregation.of_request(&info) {
            return Ok(delegate.proxy(request, &user).await);
        }
        if info.is_resource {
            let resource = self.core.resource_of(&info)?;
            let core = Arc::clone(&self.core);
            let (request, info) = (request.map(RequestBody::new), RequestInfo::clone(&info));
            return verbs::serve(Call { request, info, user, query, resource, warnings, core }).boxed().await;
        }
        let path = info.path.as_str();
        if let Some(report) = self.core.health.checks.answer(path, request.uri().query().unwrap_or_default()) {
            let code = StatusCode::from_u16(report.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(respond::text(code, report.body));
        }
        if path == "/metrics" {
            if let Gate::Fair(fairness) = &self.core.gate {
                fairness.report();
            }
            let text = storage_metrics::render(&self.core).await + &component_base::metrics::render();
            return Ok(respond::text(StatusCode::OK, text));
        }
        if let Gate::Fair(fairness) = &self.core.gate
            && let Some(text) = fairness.dump(path, &query)
        {
            return Ok(respond::text(StatusCode::OK, text));
        }
        if path == storage::snapshot::PATH {
            return snapshot::serve(&self.core, request.method()).await;
        }
        if let Some((content_type, body)) = (self.documents)(path) {
            return Ok(respond::maybe_compressed(request.headers(), StatusCode::OK, content_type, body));
        }
        let (core, headers) = (&self.core, request.headers());
        if let Some(delegate) = documents::delegate(&core.aggregation, path) {
            return Ok(delegate.openapi(request).await);
        }
        if let Some(answer) = core.openapi.serve(core, path, headers, &query)? {
            return Ok(answer);
        }
        if let Some(answer) = discovery::serve(core, &self.advertised, path, headers, &query)? {
            return Ok(answer);
        }
        Ok(respond::text(StatusCode::NOT_FOUND, "404 page not found\n"))
    }

    /// CORS, where it is configured: upstream answers with the origin itself.
    fn allow_origin(&self, headers: &http::HeaderMap, response: &mut Response<Body>) {
        let Some(origin) = headers.get(header::ORIGIN) else { return };
        let allowed = origin.to_str().is_ok_and(|o| self.cors.iter().any(|pattern| pattern.is_match(o)));
        if !allowed {
            return;
        }
        let out = response.headers_mut();
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        out.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        out.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE, PATCH"),
        );
    }

    fn count(&self, info: &RequestInfo, response: &Response<Body>, started: Instant, long_running: bool) {
        let verb = info.verb.to_ascii_uppercase();
        let metrics = &self.core.metrics;
        let known = self.core.resource_of(info).is_ok();
        let text = |s: &str| if known { s.to_owned() } else { String::new() };
        let labels = DurationLabels {
            verb,
            group: text(&info.group),
            version: text(&info.version),
            resource: text(&info.resource),
            subresource: text(&info.subresource),
        };
        let request = RequestLabels {
            verb: labels.verb.clone(),
            group: labels.group.clone(),
            version: labels.version.clone(),
            resource: labels.resource.clone(),
            subresource: labels.subresource.clone(),
            code: response.status().as_u16(),
        };
        metrics.requests.get_or_create(&request).inc();
        if !long_running {
            metrics.durations.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        }
    }
}

fn audit_id(headers: &http::HeaderMap) -> String {
    let given = headers.get("audit-id").and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty() && v.len() <= 64);
    given.map_or_else(component_base::rng::uuid, str::to_owned)
}

/// The client may ask for less time, as Go writes durations.
fn deadline(query: &Query, limit: Duration) -> Duration {
    let asked = query.first("timeout").and_then(|t| component_base::duration::parse_duration(t).ok());
    asked.filter(|t| !t.is_zero()).map_or(limit, |t| t.min(limit))
}

fn with_authenticated(mut user: UserInfo) -> UserInfo {
    let anonymous = user.name == ANONYMOUS || user.in_group(ALL_UNAUTHENTICATED);
    if !anonymous && !user.in_group(ALL_AUTHENTICATED) {
        user.groups.push(ALL_AUTHENTICATED.to_owned());
    }
    user
}

/// 403 in upstream's words.
pub fn forbidden(attributes: &Attributes, reason: &str) -> Error {
    let user = &attributes.user.name;
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    if !attributes.is_resource {
        let what = format!("User \"{user}\" cannot {} path \"{}\"{because}", attributes.verb, attributes.path);
        return Error::forbidden("", "", "", &what);
    }
    let mut resource = attributes.resource.clone();
    if !attributes.subresource.is_empty() {
        resource = format!("{resource}/{}", attributes.subresource);
    }
    let place = if attributes.namespace.is_empty() || attributes.resource == "namespaces" {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", attributes.namespace)
    };
    let what = format!(
        "User \"{user}\" cannot {} resource \"{resource}\" in API group \"{}\" {place}{because}",
        attributes.verb, attributes.group
    );
    Error::forbidden(&attributes.group, &attributes.resource, &attributes.name, &what)
}

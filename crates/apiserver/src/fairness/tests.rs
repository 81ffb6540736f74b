//! Requests at the gate.

use http::Method;

use super::*;

fn request(method: Method, path: &str) -> Arc<RequestInfo> {
    Arc::new(RequestInfo::parse(&method, path, &Query::default()))
}

fn schema(name: &str, precedence: i32, subject: Subject, rule: ResourceRule) -> FlowSchema {
    let rules = vec![PolicyRule { subjects: vec![subject], resources: vec![rule], paths: Vec::new() }];
    FlowSchema {
        name: name.into(),
        uid: format!("uid-of-{name}"),
        level: "work".into(),
        precedence,
        distinguisher: Some(Distinguisher::ByUser),
        rules,
    }
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

fn pods_of(namespace: &str) -> ResourceRule {
    ResourceRule {
        verbs: words(&["get", "list"]),
        groups: words(&[""]),
        resources: words(&["pods", "pods/log"]),
        cluster_scope: false,
        namespaces: words(&[namespace]),
    }
}

#[test]
fn subjects_and_rules_decide_what_a_schema_matches() {
    let account = Subject::ServiceAccount { namespace: "kube-system".into(), name: "*".into() };
    let schema = schema("s", 1, account, pods_of("shop"));
    let robot = UserInfo::new("system:serviceaccount:kube-system:robot", &[]);
    let pods = "/api/v1/namespaces/shop/pods";
    for (info, user, expected) in [
        (request(Method::GET, pods), &robot, true),
        (request(Method::GET, "/api/v1/namespaces/shop/pods/a/log"), &robot, true),
        (request(Method::GET, "/api/v1/namespaces/shop/pods/a/status"), &robot, false),
        (request(Method::POST, pods), &robot, false),
        (request(Method::GET, "/api/v1/namespaces/other/pods"), &robot, false),
        (request(Method::GET, "/api/v1/pods"), &robot, false),
        (request(Method::GET, "/healthz"), &robot, false),
        (request(Method::GET, pods), &UserInfo::new("system:serviceaccount:shop:robot", &[]), false),
        (request(Method::GET, pods), &UserInfo::new("robot", &["system:masters"]), false),
    ] {
        assert_eq!(schema.matches(&info, user), expected, "{info:?} of {}", user.name);
    }
}

fn one_seat() -> Arc<Fairness> {
    let gate = Fairness::new(1);
    let work = Level {
        uid: "uid-of-work".into(),
        exempt: false,
        shares: 100,
        lendable: 0,
        borrowing: Some(0),
        response: Response::Queue { queues: 4, hand: 1, length: 2 },
    };
    let everybody = Subject::User("*".into());
    let schemas =
        vec![schema("late", 20, everybody.clone(), pods_of("*")), schema("early", 10, everybody, pods_of("*"))];
    gate.configure(Config { schemas, levels: BTreeMap::from([("work".to_owned(), work)]) });
    gate
}

#[tokio::test(start_paused = true)]
async fn requests_run_wait_and_are_refused() {
    let gate = one_seat();
    let (info, user) = (request(Method::GET, "/api/v1/namespaces/shop/pods"), UserInfo::new("ann", &[]));
    let first = gate.admit(&info, &user, 1).await.unwrap();
    assert_eq!((first.schema_uid.as_str(), first.level_uid.as_str()), ("uid-of-early", "uid-of-work"));
    let waiting = |gate: &Arc<Fairness>| {
        let (gate, info, user) = (Arc::clone(gate), info.clone(), user.clone());
        tokio::spawn(async move { gate.admit(&info, &user, 1).await.map_err(|e| e.code) })
    };
    let (second, third) = (waiting(&gate), waiting(&gate));
    tokio::task::yield_now().await;
    assert_eq!(gate.admit(&info, &user, 1).await.err().map(|e| e.code), Some(429), "the flow's queue is full");
    drop(first);
    let second = second.await.unwrap().unwrap();
    // Nobody waits for ever.
    assert_eq!(third.await.unwrap().err(), Some(429));
    drop(second);
    gate.admit(&info, &user, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_does_not_keep_its_seat() {
    let gate = one_seat();
    let (info, user) = (request(Method::GET, "/api/v1/namespaces/shop/pods"), UserInfo::new("ann", &[]));
    let first = gate.admit(&info, &user, 1).await.unwrap();
    let gone = tokio::time::timeout(Duration::from_secs(1), gate.admit(&info, &user, 1)).await;
    assert!(gone.is_err());
    drop(first);
    gate.admit(&info, &user, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn administrators_always_pass() {
    let gate = one_seat();
    let info = request(Method::DELETE, "/api/v1/namespaces/shop");
    let admin = UserInfo::new("root", &[MASTERS]);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(gate.admit(&info, &admin, 1).await.unwrap());
    }
    // The catch-all level refuses what it has no seat for.
    let other = UserInfo::new("ann", &[]);
    held.push(gate.admit(&info, &other, 1).await.unwrap());
    assert_eq!(gate.admit(&info, &other, 1).await.err().map(|e| e.code), Some(429));
}

fn words_of(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|line| line.split(',').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn dumps_tell_what_goes_on() {
    component_base::clock::set_for_thread(jiff::Timestamp::UNIX_EPOCH);
    let gate = one_seat();
    let (info, user) = (request(Method::GET, "/api/v1/namespaces/shop/pods/a/log"), UserInfo::new("ann", &[]));
    let first = gate.admit(&info, &user, 1).await.unwrap();
    tokio::time::advance(Duration::from_millis(1_500)).await;
    let mut second = Box::pin(gate.admit(&info, &user, 1));
    assert!(futures::poll!(&mut second).is_pending());

    let dump = |name: &str, query: &str| {
        gate.dump(&format!("/debug/api_priority_and_fairness/{name}"), &Query::parse(query)).unwrap()
    };
    let levels = dump("dump_priority_levels", "");
    assert_eq!(
        levels,
        "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, \
         RejectedRequests, TimedoutRequests, CancelledRequests\n\
         catch-all,         0,            true,   false,       0,               0,                 0,                  \
         0,                0,                0\n\
         exempt,            0,            true,   false,       0,               0,                 0,                  \
         0,                0,                0\n\
         work,              1,            false,  false,       1,               1,                 1,                  \
         0,                0,                0\n"
    );

    let queues = words_of(&dump("dump_queues", ""));
    assert_eq!(queues.len(), 1 + 4, "one line for each queue: {queues:?}");
    let busy = queues.iter().find(|row| row[3] == "1").unwrap();
    assert_eq!(busy[..5].join(" "), format!("work {} 1 1 1", busy[1]));
    assert_eq!(busy[5..].join(" "), "0.00300000ss 1 1 0.00300000ss");

    let at = busy[1].as_str();
    let requests = words_of(&dump("dump_requests", ""));
    assert_eq!(requests[0].len(), 10);
    let waiting = format!("work early {at} 0 ann 1970-01-01T00:00:01.5Z 1 0 0s 0001-01-01T00:00:00Z");
    let running = format!("work early {at} -1 ann 1970-01-01T00:00:00Z 1 0 0s 1970-01-01T00:00:00Z");
    assert_eq!([requests[1].join(" "), requests[2].join(" ")], [waiting, running]);

    let detailed = words_of(&dump("dump_requests", "includeRequestDetails=1"));
    assert_eq!(detailed[0][10..].join(" "), "UserName Verb APIPath Namespace Name APIVersion Resource SubResource");
    assert_eq!(detailed[1][10..].join(" "), "ann get /api/v1/namespaces/shop/pods/a/log shop a v1 pods log");

    drop(first);
    drop(second);
    assert!(
        dump("dump_priority_levels", "")
            .contains("work,              0,            true,   false,       0,               0,                 2")
    );
    assert_eq!(gate.dump("/debug/api_priority_and_fairness", &Query::default()), None);
}

//! Watches and lists in pieces: what is seen, in which order, from where on.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::session::{BOTH, Session, on_cluster};

const MAPS: &str = "/api/v1/namespaces/test/configmaps";

fn labelled(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"watch": label}}})
}

async fn mutate(session: &Session, name: &str, number: u32) -> Value {
    session.merge(&format!("{MAPS}/{name}"), json!({"data": {"mutation": number.to_string()}})).await.is(200)
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

#[test]
fn each_watcher_sees_what_its_selector_takes() {
    on_cluster(&BOTH, |session| async move {
        let of = |labels: &str| format!("{MAPS}?watch=true&labelSelector=watch%20in%20({labels})");
        let mut a = session.watch(&of("a")).await;
        let mut b = session.watch(&of("b")).await;
        let mut both = session.watch(&of("a,b")).await;
        session.create(MAPS, labelled("map-a", "a")).await;
        a.expect("ADDED", "map-a").await;
        both.expect("ADDED", "map-a").await;
        for number in 1..=2 {
            mutate(&session, "map-a", number).await;
            for watch in [&mut a, &mut both] {
                assert_eq!(watch.expect("MODIFIED", "map-a").await["data"]["mutation"], number.to_string());
            }
        }
        session.delete(&format!("{MAPS}/map-a")).await.is(200);
        a.expect("DELETED", "map-a").await;
        both.expect("DELETED", "map-a").await;
        session.create(MAPS, labelled("map-b", "b")).await;
        b.expect("ADDED", "map-b").await;
        both.expect("ADDED", "map-b").await;
    });
}

#[test]
fn a_watch_begins_behind_a_version() {
    on_cluster(&BOTH, |session| async move {
        session.create(MAPS, labelled("m", "x")).await;
        let first = mutate(&session, "m", 1).await;
        mutate(&session, "m", 2).await;
        session.delete(&format!("{MAPS}/m")).await.is(200);
        let from = |v: &str| format!("{MAPS}?watch=true&labelSelector=watch%3Dx&resourceVersion={v}");
        let mut watch = session.watch(&from(version(&first))).await;
        let second = watch.expect("MODIFIED", "m").await;
        assert_eq!(second["data"]["mutation"], "2");
        // Another watch goes on where this one stands.
        drop(watch);
        session.watch(&from(version(&second))).await.expect("DELETED", "m").await;
    });
}

#[test]
fn an_object_that_leaves_the_selector_is_deleted_for_it() {
    on_cluster(&BOTH, |session| async move {
        session.create(MAPS, labelled("m", "in")).await;
        let mut watch = session.watch(&format!("{MAPS}?watch=true&labelSelector=watch%3Din")).await;
        watch.expect("ADDED", "m").await;
        mutate(&session, "m", 1).await;
        watch.expect("MODIFIED", "m").await;
        let relabel = |label: &str| json!({"metadata": {"labels": {"watch": label}}});
        let path = format!("{MAPS}/m");
        let out = session.merge(&path, relabel("out")).await.is(200);
        let deleted = watch.expect("DELETED", "m").await;
        // The last state that matched, at the version of the write that took it away.
        assert_eq!((&deleted["metadata"]["labels"]["watch"], version(&deleted)), (&json!("in"), version(&out)));
        mutate(&session, "m", 2).await;
        session.merge(&path, relabel("in")).await.is(200);
        assert_eq!(watch.expect("ADDED", "m").await["data"]["mutation"], "2");
        session.delete(&path).await.is(200);
        watch.expect("DELETED", "m").await;
    });
}

#[test]
fn concurrent_watches_see_one_order() {
    on_cluster(&BOTH, |session| async move {
        let first = session.get(MAPS).await.is(200);
        let path = |v: &str| format!("{MAPS}?watch=true&resourceVersion={v}");
        let mut reference = session.watch(&path(version(&first))).await;
        let mut versions = vec![version(&first).to_owned()];
        for number in 0..20 {
            let name = format!("m-{}", number % 4);
            match number / 4 % 3 {
                0 => _ = session.create(MAPS, labelled(&name, "x")).await,
                1 => _ = mutate(&session, &name, number).await,
                _ => _ = session.delete(&format!("{MAPS}/{name}")).await.is(200),
            }
            versions.push(version(&reference.next().await.unwrap().1).to_owned());
        }
        for (at, from) in versions.iter().enumerate() {
            let mut watch = session.watch(&path(from)).await;
            for wanted in &versions[at + 1..] {
                assert_eq!(version(&watch.next().await.unwrap().1), wanted, "from {from}");
            }
        }
    });
}

#[test]
fn initial_events_end_with_a_bookmark() {
    on_cluster(&BOTH, |session| async move {
        session.create(MAPS, labelled("m", "x")).await;
        let options = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut watch = session.watch(&format!("{MAPS}?labelSelector=watch%3Dx&{options}")).await;
        watch.expect("ADDED", "m").await;
        let (kind, bookmark) = watch.next().await.unwrap();
        assert_eq!((kind.as_str(), &bookmark["kind"]), ("BOOKMARK", &json!("ConfigMap")));
        assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        mutate(&session, "m", 1).await;
        watch.expect("MODIFIED", "m").await;
    });
}

#[test]
fn lists_come_in_chunks() {
    const TEMPLATES: &str = "/api/v1/namespaces/test/podtemplates";
    on_cluster(&BOTH, |session| async move {
        let template = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        for number in 0..40 {
            let body = json!({"metadata": {"name": format!("template-{number:04}")}, "template": template});
            session.create(TEMPLATES, body).await;
        }
        for limit in [1, 7, 39, 40, 41] {
            let (mut found, mut token, mut at) = (Vec::new(), String::new(), None);
            loop {
                let page = session.get(&format!("{TEMPLATES}?limit={limit}&continue={token}")).await.is(200);
                let items = page["items"].as_array().unwrap();
                assert!(items.len() <= limit);
                found.extend(items.iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()));
                let now = version(&page).to_owned();
                assert_eq!(*at.get_or_insert(now.clone()), now, "pages are of one version");
                token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
                let left = page["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
                assert_eq!(left as usize, 40 - found.len());
                if token.is_empty() {
                    break;
                }
            }
            let wanted: Vec<String> = (0..40).map(|n| format!("template-{n:04}")).collect();
            assert_eq!(found, wanted, "in pieces of {limit}");
        }
    });
}

#[test]
fn a_lone_event_goes_out_at_once_and_many_go_together() {
    on_cluster(&BOTH[..1], |session| async move {
        let revision = session.get(&format!("{MAPS}?limit=1")).await.is(200);
        let path = format!("{MAPS}?watch=true&labelSelector=watch%3Db&resourceVersion={}", version(&revision));
        let response = session.send("GET", &path, ("application/json", ""), Vec::new()).await;
        let mut body = response.into_body();
        let mut events = Vec::new();
        let began = tokio::time::Instant::now();
        for number in 0..20 {
            session.create(MAPS, labelled(&format!("burst-{number}"), "b")).await;
        }
        while events.iter().sum::<usize>() < 20 {
            let frame = body.frame().await.unwrap().unwrap();
            events.push(frame.data_ref().unwrap().iter().filter(|byte| **byte == b'\n').count());
        }
        assert!(events.len() <= 3, "{events:?}");
        assert!(began.elapsed() < std::time::Duration::from_millis(100), "{:?}", began.elapsed());
    });
}

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;

use super::*;

#[derive(Default)]
struct Fake {
    inputs: Mutex<Vec<String>>,
    fail: Mutex<bool>,
    flushed: Mutex<bool>,
    chains: Mutex<Vec<String>>,
}

#[async_trait]
impl PacketFilter for Fake {
    async fn restore(&self, input: String) -> Result<(), SinkError> {
        if std::mem::take(&mut *self.fail.lock()) {
            return Err(SinkError::Failed { program: "iptables-restore", message: "no".into() });
        }
        self.inputs.lock().push(input);
        Ok(())
    }
    async fn prepare(&self) -> Result<(), SinkError> {
        *self.flushed.lock() = false;
        Ok(())
    }
    async fn was_flushed(&self) -> Result<bool, SinkError> {
        Ok(*self.flushed.lock())
    }
    async fn chains(&self, _table: Table) -> Result<Vec<String>, SinkError> {
        Ok(self.chains.lock().clone())
    }
    async fn clean_up(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn proxier() -> (Proxier, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    let config = Config { node_name: "n1".into(), ..Config::default() };
    (Proxier::new(config, vec![Backend::new(Family::V4, fake.clone())], Health::default()), fake)
}

fn service(ip: &str) -> Change {
    let service =
        json!({"metadata": {"name": "s", "namespace": "d"}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    Change::Service(Event::Added(Arc::new(serde_json::from_value(service).unwrap())))
}

fn slice(ips: &[&str]) -> Change {
    let endpoints: Vec<_> = ips.iter().map(|ip| json!({"addresses": [ip]})).collect();
    let slice = json!({"metadata": {"name": "s-1", "namespace": "d", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 80, "protocol": "TCP"}], "endpoints": endpoints});
    Change::Slice(Event::Added(Arc::new(serde_json::from_value(slice).unwrap())))
}

#[tokio::test(start_paused = true)]
async fn the_first_pass_is_complete_and_later_ones_partial() {
    let (mut proxier, fake) = proxier();
    *fake.chains.lock() = vec!["KUBE-SVC-OLD".into(), "KUBE-SERVICES".into(), "DOCKER".into()];
    proxier.take_in(service("10.96.0.1"));
    proxier.pass().await;
    proxier.take_in(slice(&["10.0.0.1"]));
    proxier.pass().await;
    let inputs = fake.inputs.lock();
    assert!(inputs[0].contains("has no endpoints") && inputs[0].contains("-X KUBE-SVC-OLD"));
    assert!(!inputs[0].contains("DOCKER"));
    assert!(inputs[1].contains("DNAT --to-destination 10.0.0.1:80") && !inputs[1].contains("KUBE-POSTROUTING"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_pass_is_repeated_in_full() {
    let (mut proxier, fake) = proxier();
    proxier.take_in(service("10.96.0.1"));
    proxier.pass().await;
    *fake.fail.lock() = true;
    proxier.take_in(slice(&["10.0.0.1"]));
    assert_eq!(proxier.pass().await, RETRY);
    proxier.pass().await;
    let inputs = fake.inputs.lock();
    assert_eq!(inputs.len(), 2);
    assert!(inputs[1].contains("10.0.0.1:80") && inputs[1].contains("KUBE-POSTROUTING"));
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_noticed() {
    let (mut proxier, fake) = proxier();
    proxier.take_in(service("10.96.0.1"));
    proxier.pass().await;
    *fake.flushed.lock() = true;
    proxier.look_after().await;
    assert!(proxier.complete);
    proxier.pass().await;
    assert!(fake.inputs.lock()[1].contains("KUBE-POSTROUTING"));
}

#[tokio::test(start_paused = true)]
async fn the_loop_gathers_changes() {
    let (proxier, fake) = proxier();
    let (changes, inbox) = mpsc::unbounded_channel();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(proxier.run(inbox, std::future::ready(true), shutdown.clone()));
    let send = |change| assert!(changes.send(change).is_ok());
    let passes = || fake.inputs.lock().len();
    for (change, expected) in [
        (service("10.96.0.1"), 1),
        (slice(&["10.0.0.1"]), 2),
        (slice(&["10.0.0.1", "10.0.0.2"]), 2),
        (slice(&["10.0.0.1", "10.0.0.3"]), 2),
    ] {
        send(change);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(passes(), expected, "two passes may follow each other at once, no third within the minimal period");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    shutdown.cancel();
    running.await.unwrap();
    let inputs = fake.inputs.lock();
    assert_eq!(inputs.len(), 3, "changes within the minimal period are one pass");
    assert!(inputs[2].contains("10.0.0.3:80") && !inputs[2].contains("10.0.0.2:80"));
}

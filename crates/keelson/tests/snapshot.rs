//! `keelson snapshot` against an API server in memory: what it saved, a new server has.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

use std::{fs, path::Path, process::Command, sync::Arc};

use apiserver::user::UserInfo;
use component_base::flags::Flags;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keelson::snapshot;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};
use kube_apiserver::{config::Config, options, run};
use storage::{Store, embedded::Embedded};
use tokio_util::sync::CancellationToken;

const MASTERS: &[&str] = &["system:masters"];

struct Server {
    api: run::ApiServer,
    shutdown: CancellationToken,
}

impl Server {
    async fn start(store: Arc<dyn Store>) -> Self {
        let args = ["--service-cluster-ip-range=10.96.0.0/28", "--advertise-address=192.0.2.10"];
        let flags = Flags::parse("kube-apiserver", options::FLAGS, args).unwrap();
        let config = Config::from_flags(&flags).unwrap();
        let shutdown = CancellationToken::new();
        let api = run::build(&config, store, shutdown.clone()).await.unwrap();
        Self { api, shutdown }
    }

    fn client(&self, user: &str, groups: &[&str]) -> Client {
        self.api.client_as(UserInfo::new(user, groups))
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.api.tasks.close();
        self.api.tasks.wait().await;
    }
}

async fn create(client: &Client, name: &str) -> ConfigMap {
    let maps = Api::namespaced(client.clone(), "default");
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.into());
    map.data = Some([("key".to_owned(), "value".repeat(1000))].into());
    maps.create(&PostParams::default(), &map).await.unwrap()
}

fn revision(map: &ConfigMap) -> u64 {
    map.resource_version().unwrap().parse().unwrap()
}

fn restore(file: &Path, dir: &Path) -> (bool, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_keelson"))
        .args(["snapshot", "restore"])
        .arg(file)
        .arg("--data-dir")
        .arg(dir)
        .output()
        .unwrap();
    let text = if run.status.success() { run.stdout } else { run.stderr };
    (run.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn a_new_server_has_what_was_saved() {
    let files = tempfile::tempdir().unwrap();
    let (file, dir) = (files.path().join("snapshot"), files.path().join("data"));
    let old = Server::start(Arc::new(Embedded::in_memory())).await;
    let admin = old.client("admin", MASTERS);
    for n in 0..200 {
        create(&admin, &format!("before-{n}")).await;
    }
    let summary = snapshot::save(&admin, &file).await.unwrap();
    let after = create(&admin, "after").await;
    assert!(revision(&after) > summary.revision.0);
    old.stop().await;

    let (restored, text) = restore(&file, &dir);
    assert!(restored, "{text}");
    let figures = format!("revision {}, {} objects, {} bytes\n", summary.revision, summary.objects, summary.data);
    assert!(text.ends_with(&figures), "{text}");
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 2, "nothing but the file and the directory is left");

    let new = Server::start(Arc::new(Embedded::open(&dir).await.unwrap())).await;
    let client = new.client("admin", MASTERS);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let listed = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.iter().filter(|map| map.name_any().starts_with("before-")).count(), 200);
    assert!(maps.get_opt("after").await.unwrap().is_none());
    assert!(revision(&create(&client, "new").await) > summary.revision.0);
    new.stop().await;

    let (restored, text) = restore(&file, &dir);
    assert!(!restored && text == format!("keelson: {} is not empty\n", dir.display()), "{text}");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let (restored, text) = restore(&file, &files.path().join("other"));
    assert!(!restored && text == format!("keelson: {} is cut off\n", file.display()), "{text}");
}

#[tokio::test]
async fn only_who_may_gets_it() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("snapshot");
    fs::write(&file, "an older one").unwrap();
    let server = Server::start(Arc::new(Embedded::in_memory())).await;
    let secrets: Api<Secret> = Api::namespaced(server.client("admin", MASTERS), "default");
    secrets.create(&PostParams::default(), &Secret { metadata: named("s"), ..Secret::default() }).await.unwrap();
    let error = snapshot::save(&server.client("reader", &["system:monitoring"]), &file).await.unwrap_err();
    let refusal = "the API server gives no snapshot: forbidden: User \"reader\" cannot get path \"/keelson/snapshot\"";
    assert_eq!(format!("{error:#}"), refusal);
    assert_eq!(fs::read_to_string(&file).unwrap(), "an older one");
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 1);
    let summary = snapshot::save(&server.client("admin", MASTERS), &file).await.unwrap();
    assert_eq!(storage::snapshot::verify(&file).unwrap(), summary);
    server.stop().await;
}

fn named(name: &str) -> kube::api::ObjectMeta {
    kube::api::ObjectMeta { name: Some(name.into()), ..Default::default() }
}

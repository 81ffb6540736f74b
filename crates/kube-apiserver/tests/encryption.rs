//! Encryption at rest through the front door: what is in the store, what clients see of it, and how it changes.

mod plugin;

use std::{path::Path, sync::Arc, time::Duration};

use api_types::k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, Service},
};
use apiserver::user::UserInfo;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use component_base::flags::Flags;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use kube_apiserver::{config::Config, options, run};
use plugin::Plugin;
use serde_json::json;
use storage::{ListOptions, Store, embedded::Embedded};
use tokio_util::sync::CancellationToken;

struct Server {
    api: run::ApiServer,
    client: Client,
    shutdown: CancellationToken,
}

impl Server {
    async fn start(store: &Arc<Embedded>, file: Option<&Path>) -> Server {
        let mut args = vec!["--service-cluster-ip-range=10.96.0.0/28".into(), "--advertise-address=192.0.2.10".into()];
        if let Some(file) = file {
            args.push(format!("--encryption-provider-config={}", file.display()));
            args.push("--encryption-provider-config-automatic-reload".into());
        }
        let flags = Flags::parse("kube-apiserver", options::FLAGS, args).expect("flags parse");
        let config = Config::from_flags(&flags).expect("flags are valid");
        let shutdown = CancellationToken::new();
        let store: Arc<dyn Store> = store.clone();
        let api = run::build(&config, store, shutdown.clone()).await.expect("the server starts");
        let client = api.client_as(UserInfo::new("admin", &["system:masters"]));
        Server { api, client, shutdown }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create(&self, name: &str) {
        let secret = json!({ "metadata": { "name": name }, "stringData": { "password": format!("{name}'s") } });
        let secret = serde_json::from_value(secret).expect("test object");
        self.secrets().create(&PostParams::default(), &secret).await.expect("created");
    }

    /// The password in the secret.
    async fn password(&self, name: &str) -> Result<String, kube::Error> {
        self.secrets().get(name).await.map(|secret| password(&secret))
    }

    async fn passwords(&self) -> Result<Vec<String>, kube::Error> {
        let list = self.secrets().list(&ListParams::default()).await?;
        Ok(list.items.iter().map(password).collect())
    }

    async fn get(&self, path: &str) -> Result<String, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).expect("request");
        self.client.request_text(request).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.api.tasks.close();
        self.api.tasks.wait().await;
    }
}

fn password(secret: &Secret) -> String {
    let ByteString(bytes) = &secret.data.as_ref().expect("data")["password"];
    String::from_utf8(bytes.clone()).expect("text")
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => panic!("no API error: {other}"),
    }
}

/// What the secret is stored as begins with: up to the fifth colon.
async fn prefix(store: &Embedded, name: &str) -> String {
    let (kv, _) = store.get(&format!("/registry/secrets/default/{name}")).await.expect("get");
    let text = String::from_utf8_lossy(&kv.expect("a value").value).into_owned();
    text.split(':').take(5).collect::<Vec<_>>().join(":")
}

/// Waits until `check` succeeds.
async fn eventually<T>(mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(200), waiting).await.expect("in time")
}

/// A configuration of secrets with these providers.
fn configure(file: &Path, providers: &[String]) {
    configure_all(file, &[("secrets", providers)]);
}

/// A configuration of these resources with these providers.
fn configure_all(file: &Path, rules: &[(&str, &[String])]) {
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n";
    let rule = |(resources, providers): &(&str, &[String])| {
        format!("- resources: ['{resources}']\n  providers: [{}]\n", providers.join(", "))
    };
    let rules: String = rules.iter().map(rule).collect();
    std::fs::write(file, format!("{head}{rules}")).expect("written");
}

fn key(provider: &str, name: &str, byte: u8) -> String {
    format!("{provider}: {{keys: [{{name: {name}, secret: {}}}]}}", STANDARD.encode([byte; 32]))
}

const IDENTITY: &str = "identity: {}";

#[tokio::test(start_paused = true)]
async fn secrets_are_encrypted_in_the_store_and_keys_are_changed_by_the_file() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("encryption.yaml");
    let store = Arc::new(Embedded::in_memory());
    let plain = Server::start(&store, None).await;
    plain.create("old").await;
    plain.stop().await;
    assert!(prefix(&store, "old").await.starts_with("k8s\0"));

    configure(&file, &[key("aescbc", "one", 1), IDENTITY.into()]);
    let server = Server::start(&store, Some(&file)).await;
    server.create("new").await;
    assert_eq!(prefix(&store, "new").await, "k8s:enc:aescbc:v1:one");
    assert_eq!(server.passwords().await.expect("list"), ["new's", "old's"]);
    let others = store.list("/registry/configmaps/", ListOptions::default()).await.expect("list").items;
    assert!(others.iter().all(|kv| kv.value.starts_with(b"k8s\0")) && !others.is_empty());

    // A write that changes nothing encrypts what is not encrypted yet, once.
    let rewrite = async |server: &Server, name: &str| {
        let before = server.secrets().get(name).await.expect("get");
        let secrets = server.secrets();
        let after = secrets.replace(name, &PostParams::default(), &before).await.expect("replaced");
        before.metadata.resource_version != after.metadata.resource_version
    };
    assert!(rewrite(&server, "old").await);
    assert_eq!(prefix(&store, "old").await, "k8s:enc:aescbc:v1:one");
    assert!(!rewrite(&server, "old").await);

    // A new key in front, taken over from the file; a broken file is not.
    std::fs::write(&file, "kind: Nonsense\n").expect("written");
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(server.password("old").await.expect("get"), "old's");
    configure(&file, &[key("secretbox", "two", 2), key("aescbc", "one", 1)]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(server.passwords().await.expect("list"), ["new's", "old's"]);
    assert!(rewrite(&server, "old").await && rewrite(&server, "new").await);
    assert_eq!(prefix(&store, "new").await, "k8s:enc:secretbox:v1:two");
    let metrics = server.get("/metrics").await.expect("metrics");
    for line in [
        "apiserver_storage_transformation_operations_total{transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:secretbox:v1:\",status=\"OK\"}",
        "apiserver_encryption_config_controller_automatic_reloads_total{status=\"success\"}",
        "apiserver_encryption_config_controller_automatic_reloads_total{status=\"failure\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    // And back to none.
    configure(&file, &[IDENTITY.into(), key("secretbox", "two", 2)]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(rewrite(&server, "old").await && rewrite(&server, "new").await);
    server.stop().await;
    let plain = Server::start(&store, None).await;
    assert_eq!(plain.passwords().await.expect("list"), ["new's", "old's"]);
    plain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_decrypted_is_an_error_until_the_key_is_there() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("encryption.yaml");
    let store = Arc::new(Embedded::in_memory());
    configure(&file, &[key("aesgcm", "one", 1)]);
    let server = Server::start(&store, Some(&file)).await;
    server.create("lost").await;
    server.stop().await;

    configure(&file, &[key("aesgcm", "two", 2)]);
    let server = Server::start(&store, Some(&file)).await;
    server.create("found").await;
    assert_eq!(server.password("found").await.expect("get"), "found's");
    let error = message(server.password("lost").await.expect_err("no key"));
    assert_eq!(error, "Internal error occurred: no matching key was found for the provided AES transformer");
    let error = message(server.passwords().await.expect_err("no key"));
    let expected = "Internal error occurred: unable to transform key \"/registry/secrets/default/lost\": \
        no matching key was found for the provided AES transformer";
    assert_eq!(error, expected);
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    let patched = server.secrets().patch("lost", &PatchParams::default(), &patch).await;
    assert!(message(patched.expect_err("no key")).contains("no matching key was found"));

    configure(&file, &[key("aesgcm", "two", 2), key("aesgcm", "one", 1)]);
    let found = eventually(async || server.passwords().await.ok()).await;
    assert_eq!(found, ["found's", "lost's"]);
    assert_eq!(server.password("lost").await.expect("get"), "lost's");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn all_that_is_stored_can_be_encrypted() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("encryption.yaml");
    let store = Arc::new(Embedded::in_memory());
    let (secrets, rest) = ([key("secretbox", "one", 1)], [key("aesgcm", "two", 2)]);
    configure_all(&file, &[("secrets", &secrets), ("*.*", &rest)]);
    for name in ["before", "after"] {
        let server = Server::start(&store, Some(&file)).await;
        server.create(name).await;
        // Its port is noted in an object that is no resource.
        let service =
            json!({ "metadata": { "name": name }, "spec": { "type": "NodePort", "ports": [{ "port": 80 }] } });
        let service: Service = serde_json::from_value(service).expect("test object");
        let services: Api<Service> = Api::namespaced(server.client.clone(), "default");
        services.create(&PostParams::default(), &service).await.expect("created");
        server.stop().await;
    }
    for kv in store.list("/registry/", ListOptions::default()).await.expect("list").items {
        let provider = if kv.key.starts_with("/registry/secrets/") { "secretbox:v1:one:" } else { "aesgcm:v1:two:" };
        assert!(kv.value.starts_with(format!("k8s:enc:{provider}").as_bytes()), "{}", kv.key);
    }
    assert_eq!(prefix(&store, "after").await, "k8s:enc:secretbox:v1:one");
}

#[tokio::test]
async fn a_key_management_service_keeps_the_keys() {
    let dir = tempfile::tempdir().expect("directory");
    let (file, socket) = (dir.path().join("encryption.yaml"), dir.path().join("kms.sock"));
    let provider = format!("kms: {{apiVersion: v2, name: test, endpoint: 'unix://{}'}}", socket.display());
    configure(&file, &[provider, IDENTITY.into()]);
    let store = Arc::new(Embedded::in_memory());
    let plugin = Plugin::start(&socket, "key-1");
    let server = Server::start(&store, Some(&file)).await;
    assert_eq!(server.get("/readyz/kms-providers").await.expect("well"), "ok");
    for name in ["one", "two"] {
        server.create(name).await;
        assert_eq!(prefix(&store, name).await, "k8s:enc:kms:v2:test");
    }
    assert_eq!(server.passwords().await.expect("list"), ["one's", "two's"]);
    assert_eq!((plugin.encrypted(), plugin.decrypted()), (1, 0), "one seed for all");
    server.stop().await;

    // The service is not there when the server starts, and has another key when it comes.
    plugin.stop().await;
    let server = Server::start(&store, Some(&file)).await;
    let unwell = message(server.get("/healthz/kms-providers").await.expect_err("not well"));
    assert!(unwell.contains("kms-provider-0: failed to perform status section"), "{unwell}");
    assert!(server.password("one").await.is_err());
    let plugin = Plugin::start(&socket, "key-2");
    let found = eventually(async || server.passwords().await.ok()).await;
    assert_eq!(found, ["one's", "two's"]);
    assert_eq!(server.get("/healthz/kms-providers").await.expect("well"), "ok");
    assert_eq!(plugin.decrypted(), 1, "the seed of the server's earlier life");
    // Encrypted with the earlier key, so worth writing unchanged.
    let before = server.secrets().get("one").await.expect("get");
    let after = server.secrets().replace("one", &PostParams::default(), &before).await.expect("replaced");
    assert_ne!(before.metadata.resource_version, after.metadata.resource_version);
    server.stop().await;
    plugin.stop().await;
}

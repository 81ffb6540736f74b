//! Who a request comes from and what they may do, where others are asked: providers of OpenID tokens, webhooks.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use component_base::serving::{Body, Handler, text};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

use crate::{hooks::Https, server::Server};

/// Answers what a function makes of path and body.
struct Answering<F>(F);

impl<F: Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static> Handler for Answering<F> {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let (code, answer) = self.0(&path, &serde_json::from_slice(&body).unwrap_or_default());
            text(StatusCode::from_u16(code).expect("a code"), answer.to_string())
        })
    }
}

/// A provider of tokens, whose published keys change.
struct Issuer {
    server: Https,
    key: KeyPair,
    published: Arc<Mutex<Vec<Value>>>,
    files: tempfile::TempDir,
}

impl Issuer {
    async fn start() -> Issuer {
        let published = Arc::<Mutex<Vec<Value>>>::default();
        let url = Arc::new(Mutex::new(String::new()));
        let (keys, own) = (Arc::clone(&published), Arc::clone(&url));
        let server = Https::start(Answering(move |path: &str, _: &Value| {
            let url = own.lock().expect("lock").clone();
            match path {
                "/.well-known/openid-configuration" => (200, json!({"issuer": url, "jwks_uri": format!("{url}/keys")})),
                "/keys" => (200, json!({"keys": *keys.lock().expect("lock")})),
                _ => (404, Value::Null),
            }
        }))
        .await;
        *url.lock().expect("lock") = format!("https://{}", server.address);
        let files = tempfile::tempdir().expect("directory");
        std::fs::write(files.path().join("ca.crt"), &server.pem).expect("file");
        let issuer = Issuer { server, key: KeyPair::generate().expect("key"), published, files };
        issuer.publish("one");
        issuer
    }

    /// Publishes the key under another name.
    fn publish(&self, id: &str) {
        let (x, y) = self.key.der_bytes()[1..].split_at(32);
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": part(x), "y": part(y)});
        *self.published.lock().expect("lock") = vec![json!({"kty": "unknown"}), key];
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.address)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.files.path().join(name);
        std::fs::write(&path, text).expect("file");
        path.display().to_string()
    }

    /// A token that is good for a minute, with these claims beside or instead.
    fn token(&self, id: &str, claims: Value) -> String {
        let end = component_base::clock::now().as_second() + 60;
        let mut all = json!({"iss": self.url(), "aud": "app", "exp": end, "sub": "ann"});
        for (name, value) in claims.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(id.to_owned());
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        jsonwebtoken::encode(&header, &all, &key).expect("a token")
    }
}

/// Code and answer of a request with a token, or with none.
async fn ask(server: &Server, method: &str, path: &str, token: &str, body: Value) -> (u16, Value) {
    let client = kube::Client::new(server.local(), "default");
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(kube::client::Body::from(body.to_string().into_bytes())).expect("request");
    let answer = client.send(request).await.expect("an answer");
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

/// Whom the server takes the token for; nothing where it does not.
async fn user(server: &Server, token: &str) -> Value {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let (code, mut answer) = ask(server, "POST", path, token, review).await;
    match code {
        201 => answer["status"]["userInfo"].take(),
        401 => Value::Null,
        other => panic!("{other}: {answer}"),
    }
}

#[tokio::test]
async fn tokens_of_a_provider() {
    let issuer = Issuer::start().await;
    let server = Server::with(&[
        &format!("--oidc-issuer-url={}", issuer.url()),
        "--oidc-client-id=app",
        "--oidc-signing-algs=ES256",
        &format!("--oidc-ca-file={}", issuer.file("authority", &issuer.server.pem)),
        "--oidc-groups-claim=groups",
        "--oidc-groups-prefix=id:",
        "--oidc-required-claim=hd=example.org",
    ])
    .await;
    let claims = json!({"hd": "example.org", "groups": ["dev"]});
    let name = format!("{}#ann", issuer.url());
    let expected = json!({"username": name, "groups": ["id:dev", "system:authenticated"]});
    assert_eq!(user(&server, &issuer.token("one", claims.clone())).await, expected);
    for (wrong, value) in [
        ("aud", json!("other")),
        ("exp", json!(1)),
        ("hd", json!("x")),
        ("iss", json!("https://x")),
        ("sub", Value::Null),
    ] {
        let mut claims = claims.clone();
        claims[wrong] = value;
        assert_eq!(user(&server, &issuer.token("one", claims)).await, Value::Null, "{wrong}");
    }
    let stranger = Issuer { key: KeyPair::generate().expect("key"), ..issuer };
    assert_eq!(user(&server, &stranger.token("one", claims.clone())).await, Value::Null, "another key");
    // A name that is not known: the provider has changed its keys, and is asked again after a moment.
    stranger.publish("two");
    let token = stranger.token("two", claims);
    let known = async {
        while user(&server, &token).await != expected {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), known).await.expect("the new key becomes known");
    server.stop().await;
}

#[tokio::test]
async fn a_file_says_who_is_who() {
    let issuer = Issuer::start().await;
    let authority: Vec<String> = issuer.server.pem.lines().map(|line| format!("      {line}\n")).collect();
    let file = format!(
        r#"apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: {}
    audiences: [app, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
{}  claimMappings:
    username: {{expression: "'id:' + claims.sub"}}
    groups: {{expression: "claims.teams.map(t, 'team:' + t)"}}
    uid: {{claim: oid}}
    extra: [{{key: example.org/tier, valueExpression: "claims.?tier.orValue('none')"}}]
  userValidationRules:
  - {{expression: "!user.username.startsWith('id:system')", message: reserved}}
anonymous: {{enabled: true, conditions: [{{path: /livez}}]}}
"#,
        issuer.url(),
        authority.concat()
    );
    let server = Server::with(&[&format!("--authentication-config={}", issuer.file("file", &file))]).await;
    let token = |sub: &str| issuer.token("one", json!({"sub": sub, "teams": ["a"], "oid": "7"}));
    let expected = json!({"username": "id:ann", "uid": "7", "groups": ["team:a", "system:authenticated"],
        "extra": {"example.org/tier": ["none"]}});
    assert_eq!(user(&server, &token("ann")).await, expected);
    assert_eq!(user(&server, &token("system:x")).await, Value::Null);
    assert_eq!(ask(&server, "GET", "/livez", "", Value::Null).await.0, 200);
    assert_eq!(ask(&server, "GET", "/version", "", Value::Null).await.0, 401);
    server.stop().await;
    let with_flags = format!("--authentication-config={}", issuer.file("file", &file));
    assert!(!Server::starts(&[&with_flags, "--oidc-issuer-url=https://x", "--oidc-client-id=y"]).await);
}

/// A webhook that knows two tokens, lets ann read, forbids bob, and breaks for eve.
fn judge(path: &str, review: &Value) -> (u16, Value) {
    let status = match path {
        "/who" => match review["spec"]["token"].as_str() {
            Some(name @ ("ann" | "bob" | "eve")) => {
                json!({"authenticated": true, "user": {"username": name, "groups": ["hooked"]}})
            }
            _ => json!({"authenticated": false}),
        },
        _ => match review["spec"]["user"].as_str() {
            Some("ann") => json!({"allowed": review["spec"]["resourceAttributes"]["verb"] == "list"}),
            Some("bob") => json!({"allowed": false, "denied": true, "reason": "not bob"}),
            _ => return (400, Value::Null),
        },
    };
    (200, json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "status": status}))
}

fn kubeconfig(server: &Https, path: &str) -> String {
    let url = format!("https://{}{path}", server.address);
    json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority-data": STANDARD.encode(&server.pem)}}],
        "users": [{"name": "c", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]})
    .to_string()
}

#[tokio::test]
async fn webhooks_know_tokens_and_decide() {
    let asked = Arc::<Mutex<Vec<Value>>>::default();
    let log = Arc::clone(&asked);
    let webhook = Https::start(Answering(move |path: &str, review: &Value| {
        log.lock().expect("lock").push(review.clone());
        judge(path, review)
    }))
    .await;
    let files = tempfile::tempdir().expect("directory");
    let file = |name: &str, path: &str| {
        let file = files.path().join(name);
        std::fs::write(&file, kubeconfig(&webhook, path)).expect("file");
        file.display().to_string()
    };
    let server = Server::with(&[
        &format!("--authentication-token-webhook-config-file={}", file("who", "/who")),
        "--authentication-token-webhook-version=v1",
        "--authorization-mode=Webhook,RBAC",
        &format!("--authorization-webhook-config-file={}", file("may", "/may")),
        "--authorization-webhook-version=v1",
    ])
    .await;
    let groups = json!(["hooked", "system:authenticated"]);
    let pods = "/api/v1/namespaces/default/pods";
    for (token, method, path, code, words) in [
        ("ann", "GET", pods, 200, ""),
        ("ann", "GET", "/api/v1/namespaces/default/pods/p", 403, "User \"ann\" cannot get resource \"pods\""),
        ("bob", "GET", pods, 403, "not bob"),
        ("eve", "GET", pods, 500, "Internal Server Error: \"/api/v1/namespaces/default/pods\""),
        ("nobody", "GET", pods, 401, "Unauthorized"),
    ] {
        let (got, answer) = ask(&server, method, path, token, Value::Null).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(got == code && message.contains(words), "{token} {path}: {got} {answer}");
    }
    let list =
        |review: &&Value| review["spec"]["resourceAttributes"]["verb"] == "list" && review["spec"]["user"] == "ann";
    let reviews = asked.lock().expect("lock").clone();
    let spec = &reviews.iter().find(list).expect("the question")["spec"];
    let attributes = json!({"namespace": "default", "verb": "list", "version": "v1", "resource": "pods"});
    assert_eq!(*spec, json!({"user": "ann", "groups": groups, "resourceAttributes": attributes}));
    // What was answered is remembered.
    let before = reviews.len();
    assert_eq!(ask(&server, "GET", pods, "ann", Value::Null).await.0, 200);
    assert_eq!(asked.lock().expect("lock").len(), before);
    server.stop().await;
}

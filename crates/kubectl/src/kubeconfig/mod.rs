//! kubeconfig files: found, merged and resolved as client-go does.
//!
//! `--kubeconfig` names the only file; else `$KUBECONFIG` lists files whose entries are merged, the first one that defines an entry
//! wins; else `~/.kube/config`. Flags override what the chosen context says. Without any of these, a pod's service account is used.

pub mod edit;
mod exec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde_json::{Value, json};

use crate::cli::flags::Parsed;
use crate::error::{Error, Result};
use crate::fail;

/// The lists of a kubeconfig, with the key of an entry's content.
pub const SECTIONS: [(&str, &str); 3] = [("clusters", "cluster"), ("users", "user"), ("contexts", "context")];

/// Merged kubeconfig files.
#[derive(Debug)]
pub struct Kubeconfig {
    /// The merged content.
    pub content: Value,
    /// Which file an entry (list, name) came from.
    pub origins: BTreeMap<(String, String), PathBuf>,
    /// The files that were considered, existing or not.
    pub files: Vec<PathBuf>,
    /// Which file the current context came from.
    pub current_origin: Option<PathBuf>,
}

/// The files to consider, and whether the one file must exist.
pub fn files(flags: &Parsed) -> (Vec<PathBuf>, bool) {
    if let Some(path) = flags.opt("kubeconfig") {
        return (vec![PathBuf::from(path)], true);
    }
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|l| !l.is_empty()) {
        let mut files: Vec<PathBuf> = Vec::new();
        for path in std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()) {
            if !files.contains(&path) {
                files.push(path);
            }
        }
        return (files, false);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    (vec![home.join(".kube/config")], false)
}

/// An empty kubeconfig.
pub fn empty() -> Value {
    json!({"apiVersion": "v1", "kind": "Config", "clusters": null, "contexts": null, "users": null, "current-context": "", "preferences": {}})
}

/// Reads one file; nothing when it does not exist.
pub fn read(path: &Path) -> Result<Option<Value>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => fail!("error loading config file {:?}: {e}", path.display().to_string()),
    };
    match serde_yaml::from_str::<Value>(&text) {
        Ok(Value::Null) => Ok(Some(empty())),
        Ok(value) if value.is_object() => Ok(Some(value)),
        Ok(_) => fail!("error loading config file {:?}: not a kubeconfig", path.display().to_string()),
        Err(e) => fail!("error loading config file {:?}: yaml: {e}", path.display().to_string()),
    }
}

impl Kubeconfig {
    /// Loads and merges the files.
    pub fn load(flags: &Parsed) -> Result<Self> {
        let (files, must_exist) = files(flags);
        let mut merged = Self { content: empty(), origins: BTreeMap::new(), files, current_origin: None };
        for path in merged.files.clone() {
            match read(&path)? {
                Some(content) => merged.add(&path, &content),
                None if must_exist => fail!("stat {}: no such file or directory", path.display()),
                None => {}
            }
        }
        Ok(merged)
    }

    fn add(&mut self, path: &Path, content: &Value) {
        for (section, _) in SECTIONS {
            for entry in content[section].as_array().into_iter().flatten() {
                let key = (section.to_owned(), entry["name"].as_str().unwrap_or_default().to_owned());
                if self.origins.contains_key(&key) {
                    continue;
                }
                self.origins.insert(key, path.to_owned());
                if !self.content[section].is_array() {
                    self.content[section] = json!([]);
                }
                if let Some(list) = self.content[section].as_array_mut() {
                    list.push(entry.clone());
                }
            }
        }
        let current = content["current-context"].as_str().unwrap_or_default();
        if self.current_context().is_empty() && !current.is_empty() {
            self.content["current-context"] = json!(current);
            self.current_origin = Some(path.to_owned());
        }
        if let Some(preferences) = content.get("preferences")
            && self.content["preferences"] == json!({})
        {
            self.content["preferences"] = preferences.clone();
        }
    }

    /// The name of the current context, or the empty string.
    pub fn current_context(&self) -> &str {
        self.content["current-context"].as_str().unwrap_or_default()
    }

    /// The content of an entry.
    pub fn entry(&self, section: &str, name: &str) -> Option<&Value> {
        let key = SECTIONS.iter().find(|(s, _)| *s == section)?.1;
        self.content[section].as_array()?.iter().find(|e| e["name"] == name).map(|e| &e[key])
    }

    fn directory(&self, section: &str, name: &str) -> PathBuf {
        let origin = self.origins.get(&(section.to_owned(), name.to_owned()));
        origin.and_then(|p| p.parent()).map(Path::to_owned).unwrap_or_default()
    }
}

/// How to reach and authenticate to an API server.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// URL of the server.
    pub server: String,
    /// PEM of the authorities to trust; nothing means the system's.
    pub ca: Option<Vec<u8>>,
    /// Trust any certificate (the user asked for it).
    pub insecure: bool,
    /// The name to expect in the certificate, when it is not the URL's.
    pub tls_server_name: Option<String>,
    /// PEM of the client certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Value of the Authorization header.
    pub authorization: Option<String>,
    /// Whom to impersonate: user, uid, groups.
    pub impersonate: (Option<String>, Option<String>, Vec<String>),
    /// Namespace of the context.
    pub namespace: Option<String>,
}

/// Resolves what the flags and the kubeconfig say.
pub fn resolve(config: &Kubeconfig, flags: &Parsed) -> Result<Settings> {
    let context_name = flags.opt("context").unwrap_or(config.current_context()).to_owned();
    let nothing = json!({});
    let context = match config.entry("contexts", &context_name) {
        Some(context) => context,
        None if flags.opt("context").is_some() || !context_name.is_empty() => {
            return Err(Error::Verbatim(format!(
                "Error in configuration: context was not found for specified context: {context_name}"
            )));
        }
        None => &nothing,
    };
    let named = |flag: &str, key: &str| flags.opt(flag).or(context[key].as_str()).unwrap_or_default().to_owned();
    let (cluster_name, user_name) = (named("cluster", "cluster"), named("user", "user"));
    let cluster = config.entry("clusters", &cluster_name);
    let user = config.entry("users", &user_name);
    if cluster.is_none() && !cluster_name.is_empty() {
        return Err(Error::Plain(format!("no server found for cluster {cluster_name:?}")));
    }
    if user.is_none() && !user_name.is_empty() {
        return Err(Error::Plain(format!("auth info {user_name:?} does not exist")));
    }
    if cluster.is_none()
        && flags.opt("server").is_none()
        && let Some(settings) = in_cluster(flags)?
    {
        return Ok(settings);
    }
    let mut settings = Settings {
        namespace: context["namespace"].as_str().filter(|n| !n.is_empty()).map(str::to_owned),
        ..Settings::default()
    };
    resolve_cluster(&mut settings, cluster.unwrap_or(&nothing), &config.directory("clusters", &cluster_name), flags)?;
    resolve_user(&mut settings, user.unwrap_or(&nothing), &config.directory("users", &user_name), flags)?;
    Ok(settings)
}

fn resolve_cluster(settings: &mut Settings, cluster: &Value, dir: &Path, flags: &Parsed) -> Result<()> {
    let server = flags.opt("server").or(cluster["server"].as_str()).unwrap_or("http://localhost:8080");
    settings.server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    settings.insecure = if flags.changed("insecure-skip-tls-verify") {
        flags.bool("insecure-skip-tls-verify")
    } else {
        cluster["insecure-skip-tls-verify"].as_bool().unwrap_or(false)
    };
    if let Some(path) = flags.opt("certificate-authority") {
        settings.ca = Some(read_file(Path::new(path), "certificate-authority")?);
    } else if !settings.insecure {
        settings.ca = data_or_file(cluster, "certificate-authority", dir)?;
    }
    if cluster["proxy-url"].as_str().is_some_and(|p| !p.is_empty()) {
        fail!("proxy-url of a kubeconfig is not supported by this kubectl");
    }
    settings.tls_server_name = flags.opt("tls-server-name").or(cluster["tls-server-name"].as_str()).map(str::to_owned);
    Ok(())
}

fn resolve_user(settings: &mut Settings, user: &Value, dir: &Path, flags: &Parsed) -> Result<()> {
    let flag_or_file = |flag: &str| match flags.opt(flag) {
        Some(path) => read_file(Path::new(path), flag).map(Some),
        None => data_or_file(user, flag, dir),
    };
    if let (Some(certificate), Some(key)) = (flag_or_file("client-certificate")?, flag_or_file("client-key")?) {
        settings.identity = Some((certificate, key));
    }
    let given =
        |flag: &str, key: &str| flags.opt(flag).or(user[key].as_str()).filter(|v| !v.is_empty()).map(str::to_owned);
    let mut token = flags.opt("token").map(str::to_owned);
    if token.is_none() {
        token = match user["tokenFile"].as_str() {
            Some(path) => Some(String::from_utf8_lossy(&read_file(&dir.join(path), "tokenFile")?).trim().to_owned()),
            None => user["token"].as_str().filter(|t| !t.is_empty()).map(str::to_owned),
        };
    }
    if let Some(token) = token {
        settings.authorization = Some(format!("Bearer {token}"));
    } else if let (Some(name), Some(password)) = (given("username", "username"), given("password", "password")) {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        settings.authorization = Some(format!("Basic {pair}"));
    } else if user["exec"].is_object() {
        exec::credentials(settings, &user["exec"], dir)?;
    } else if user["auth-provider"].is_object() {
        fail!("auth-provider {} is not supported: use an exec credential plugin", user["auth-provider"]["name"]);
    }
    let mut groups = flags.array("as-group").to_vec();
    if groups.is_empty() {
        groups =
            user["as-groups"].as_array().into_iter().flatten().filter_map(|g| g.as_str().map(str::to_owned)).collect();
    }
    settings.impersonate = (given("as", "as"), given("as-uid", "as-uid"), groups);
    Ok(())
}

fn data_or_file(entry: &Value, key: &str, dir: &Path) -> Result<Option<Vec<u8>>> {
    if let Some(data) = entry[format!("{key}-data")].as_str().filter(|d| !d.is_empty()) {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
        return bytes.map(Some).map_err(|e| Error::Plain(format!("unable to decode {key}-data: {e}")));
    }
    match entry[key].as_str().filter(|p| !p.is_empty()) {
        Some(path) => read_file(&dir.join(path), key).map(Some),
        None => Ok(None),
    }
}

fn read_file(path: &Path, what: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        let why = if e.kind() == std::io::ErrorKind::NotFound {
            "no such file or directory".to_owned()
        } else {
            e.to_string()
        };
        Error::Plain(format!("unable to read {what} {}: open {}: {why}", path.display(), path.display()))
    })
}

/// The service account of the pod that this runs in, if it runs in one.
fn in_cluster(flags: &Parsed) -> Result<Option<Settings>> {
    const DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let (Ok(host), Ok(port)) = (std::env::var("KUBERNETES_SERVICE_HOST"), std::env::var("KUBERNETES_SERVICE_PORT"))
    else {
        return Ok(None);
    };
    let Ok(token) = std::fs::read_to_string(format!("{DIR}/token")) else { return Ok(None) };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let mut settings = Settings {
        server: format!("https://{host}:{port}"),
        ca: Some(read_file(Path::new(&format!("{DIR}/ca.crt")), "certificate-authority")?),
        authorization: Some(format!("Bearer {}", token.trim())),
        // Absent in clusters that mount only a token: then the namespace is the default one.
        namespace: std::fs::read_to_string(format!("{DIR}/namespace")).ok(),
        ..Settings::default()
    };
    settings.impersonate =
        (flags.opt("as").map(str::to_owned), flags.opt("as-uid").map(str::to_owned), flags.array("as-group").to_vec());
    Ok(Some(settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::Flag;

    fn flags(words: &[&str]) -> Parsed {
        let table = [
            "kubeconfig string -",
            "context string -",
            "cluster string -",
            "user string -",
            "server string -",
            "token string -",
            "as string -",
            "as-group array -",
        ]
        .map(Flag::parse);
        Parsed::parse(&table, &words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn merged(texts: &[&str]) -> Kubeconfig {
        let mut config = Kubeconfig { content: empty(), origins: BTreeMap::new(), files: vec![], current_origin: None };
        for (i, text) in texts.iter().enumerate() {
            config.add(Path::new(&format!("/f{i}/config")), &serde_yaml::from_str(text).unwrap());
        }
        config
    }

    const A: &str = "
current-context: a
clusters: [{name: c, cluster: {server: 'https://one:6443'}}]
users: [{name: u, user: {token: t1}}]
contexts: [{name: a, context: {cluster: c, user: u, namespace: ns}}]";
    const B: &str = "
current-context: b
clusters: [{name: c, cluster: {server: 'https://other'}}, {name: d, cluster: {server: 'https://two'}}]
contexts: [{name: b, context: {cluster: d, user: u}}]";

    #[test]
    fn the_first_file_wins_and_flags_override() {
        let config = merged(&[A, B]);
        assert_eq!(config.current_context(), "a");
        let plain = resolve(&config, &flags(&[])).unwrap();
        assert_eq!((plain.server.as_str(), plain.namespace.as_deref()), ("https://one:6443", Some("ns")));
        assert_eq!(plain.authorization.as_deref(), Some("Bearer t1"));
        let other = resolve(&config, &flags(&["--context=b", "--token=x", "--as=me", "--as-group=g"])).unwrap();
        assert_eq!((other.server.as_str(), other.authorization.as_deref()), ("https://two", Some("Bearer x")));
        assert_eq!(other.impersonate, (Some("me".into()), None, vec!["g".into()]));
        let server = resolve(&config, &flags(&["--server=h:1"])).unwrap();
        assert_eq!(server.server, "http://h:1");
    }

    #[test]
    fn missing_entries_are_errors() {
        let config = merged(&[A]);
        for (words, said) in [
            (["--context=x"], "Error in configuration: context was not found for specified context: x"),
            (["--cluster=x"], "error: no server found for cluster \"x\""),
            (["--user=x"], "error: auth info \"x\" does not exist"),
        ] {
            assert_eq!(resolve(&config, &flags(&words)).unwrap_err().report().0, said);
        }
    }
}

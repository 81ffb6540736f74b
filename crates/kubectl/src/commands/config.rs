//! `kubectl config`.

use base64::Engine;
use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::kubeconfig::{Kubeconfig, SECTIONS, edit};
use crate::output::printer::Format;
use crate::output::{plain, tabs};
use crate::{fail, out};

fn load(cx: &Context) -> Result<Kubeconfig> {
    Kubeconfig::load(&cx.flags)
}

/// The one argument of a command.
fn only<'a>(cx: &'a Context, what: &str) -> Result<&'a str> {
    match cx.args() {
        [one] => Ok(one),
        _ => Err(Error::usage(cx.command, format!("Unexpected args: {:?}: {what} is required", cx.args()))),
    }
}

/// Runs `config view`.
pub async fn view(cx: &Context) -> Result<()> {
    let config = load(cx)?;
    let mut content = config.content.clone();
    if cx.flags.bool("minify") {
        minify(&mut content, cx.flags.opt("context"))?;
    }
    for (section, _) in SECTIONS {
        if let Some(list) = content[section].as_array_mut() {
            list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        }
    }
    if !cx.flags.bool("raw") {
        redact(&mut content);
    }
    if cx.flags.bool("flatten") {
        fail!("--flatten is not supported by this kubectl");
    }
    let output = cx.flags.text("output");
    let format = Format::parse(if output.is_empty() { "yaml" } else { output }, cx.flags.text("template"))?;
    out(&format.object(&content, ""));
    Ok(())
}

fn minify(content: &mut Value, context: Option<&str>) -> Result<()> {
    let name = context.map_or_else(|| plain(&content["current-context"]), str::to_owned);
    let found = content["contexts"].as_array().into_iter().flatten().find(|c| c["name"] == name.as_str()).cloned();
    let Some(found) = found else { fail!("cannot locate context {name}") };
    content["current-context"] = json!(name);
    for (section, wanted) in
        [("contexts", &found["name"]), ("clusters", &found["context"]["cluster"]), ("users", &found["context"]["user"])]
    {
        if let Some(list) = content[section].as_array_mut() {
            list.retain(|e| e["name"] == *wanted);
        }
    }
    Ok(())
}

/// Secrets and embedded certificates are not shown.
fn redact(content: &mut Value) {
    let each = |value: &mut Value, section: &str, key: &str, fields: &[(&str, &str)]| {
        for entry in value[section].as_array_mut().into_iter().flatten() {
            for (field, shown) in fields {
                if let Some(secret) = entry[key].get_mut(*field).filter(|s| s.as_str().is_some_and(|t| !t.is_empty())) {
                    *secret = json!(shown);
                }
            }
        }
    };
    each(content, "clusters", "cluster", &[("certificate-authority-data", "DATA+OMITTED")]);
    each(
        content,
        "users",
        "user",
        &[
            ("client-certificate-data", "DATA+OMITTED"),
            ("client-key-data", "DATA+OMITTED"),
            ("token", "REDACTED"),
            ("password", "REDACTED"),
        ],
    );
}

/// Runs `config current-context`.
pub async fn current_context(cx: &Context) -> Result<()> {
    let config = load(cx)?;
    if config.current_context().is_empty() {
        fail!("current-context is not set");
    }
    out(&format!("{}\n", config.current_context()));
    Ok(())
}

/// Runs `config get-contexts`.
pub async fn get_contexts(cx: &Context) -> Result<()> {
    let config = load(cx)?;
    let name_only = match cx.flags.text("output") {
        "" => false,
        "name" => true,
        other => fail!("output must be one of '' or 'name': {other}"),
    };
    let mut contexts: Vec<&Value> = config.content["contexts"].as_array().into_iter().flatten().collect();
    contexts.sort_by_key(|c| plain(&c["name"]));
    let mut errors = Vec::new();
    if !cx.args().is_empty() {
        for wanted in cx.args().iter().filter(|w| !contexts.iter().any(|c| c["name"] == w.as_str())) {
            errors.push(Error::Plain(format!("context {wanted} not found")));
        }
        contexts.retain(|c| cx.args().iter().any(|w| c["name"] == w.as_str()));
    }
    if name_only {
        out(&contexts.iter().map(|c| plain(&c["name"]) + "\n").collect::<String>());
        return Error::collect(errors);
    }
    let mut rows = Vec::new();
    if !cx.flags.bool("no-headers") {
        rows.push(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_owned).to_vec());
    }
    for c in contexts {
        let mark = if c["name"] == config.current_context() { "*" } else { "" };
        let field = |key: &str| plain(&c["context"][key]);
        rows.push(vec![mark.to_owned(), plain(&c["name"]), field("cluster"), field("user"), field("namespace")]);
    }
    out(&tabs::align(&rows, 6, 3, &mut Vec::new()));
    Error::collect(errors)
}

fn names(cx: &Context, section: &str) -> Result<()> {
    let config = load(cx)?;
    let mut names: Vec<String> =
        config.content[section].as_array().into_iter().flatten().map(|e| plain(&e["name"])).collect();
    names.sort();
    out("NAME\n");
    out(&names.iter().map(|n| format!("{n}\n")).collect::<String>());
    Ok(())
}

/// Runs `config get-clusters`.
pub async fn get_clusters(cx: &Context) -> Result<()> {
    names(cx, "clusters")
}

/// Runs `config get-users`.
pub async fn get_users(cx: &Context) -> Result<()> {
    names(cx, "users")
}

/// Runs `config use-context`.
pub async fn use_context(cx: &Context) -> Result<()> {
    let name = only(cx, "CONTEXT_NAME")?;
    let config = load(cx)?;
    if config.entry("contexts", name).is_none() {
        fail!("no context exists with the name: {name:?}");
    }
    edit::change(&edit::current_file(&config), |content| content["current-context"] = json!(name))?;
    out(&format!("Switched to context {name:?}.\n"));
    Ok(())
}

/// Runs `config rename-context`.
pub async fn rename_context(cx: &Context) -> Result<()> {
    let [old, new] = cx.args() else {
        return Err(Error::usage(cx.command, "CONTEXT_NAME and NEW_NAME are required"));
    };
    let config = load(cx)?;
    if config.entry("contexts", old).is_none() {
        fail!("cannot rename the context {old:?}, it's not in {}", edit::default_file(&config).display());
    }
    if config.entry("contexts", new).is_some() {
        fail!(
            "cannot rename the context {old:?}, the context {new:?} already exists in {}",
            edit::default_file(&config).display()
        );
    }
    edit::change(&edit::file_of(&config, "contexts", old), |content| {
        for entry in content["contexts"].as_array_mut().into_iter().flatten().filter(|e| e["name"] == old.as_str()) {
            entry["name"] = json!(new);
        }
    })?;
    if config.current_context() == old {
        edit::change(&edit::current_file(&config), |content| content["current-context"] = json!(new))?;
    }
    out(&format!("Context {old:?} renamed to {new:?}.\n"));
    Ok(())
}

fn delete(cx: &Context, section: &str, what: &str) -> Result<()> {
    let name = only(cx, "NAME")?;
    let config = load(cx)?;
    let file = edit::file_of(&config, section, name);
    if config.entry(section, name).is_none() {
        fail!("cannot delete {what} {name}, not in {}", file.display());
    }
    edit::change(&file, |content| edit::remove(content, section, name))?;
    if section == "contexts" && config.current_context() == name {
        eprintln!(
            "warning: this removed your active context, use \"kubectl config use-context\" to select a different one"
        );
    }
    out(&format!("deleted {what} {name} from {}\n", file.display()));
    Ok(())
}

/// Runs `config delete-cluster`.
pub async fn delete_cluster(cx: &Context) -> Result<()> {
    delete(cx, "clusters", "cluster")
}

/// Runs `config delete-context`.
pub async fn delete_context(cx: &Context) -> Result<()> {
    delete(cx, "contexts", "context")
}

/// Runs `config delete-user`.
pub async fn delete_user(cx: &Context) -> Result<()> {
    delete(cx, "users", "user")
}

/// A certificate or key: its path, or its content when it is to be embedded.
fn set_file(entry: &mut Value, cx: &Context, flag: &str) -> Result<()> {
    if !cx.flags.changed(flag) {
        return Ok(());
    }
    let path = cx.flags.text(flag);
    let (data_key, path_key) = (format!("{flag}-data"), flag.to_owned());
    if let Some(map) = entry.as_object_mut() {
        map.remove(&data_key);
        map.remove(&path_key);
    }
    if path.is_empty() {
        return Ok(());
    }
    if cx.flags.bool("embed-certs") {
        let bytes = std::fs::read(path).map_err(|e| Error::Plain(format!("could not stat {flag} file {path}: {e}")))?;
        entry[data_key] = json!(base64::engine::general_purpose::STANDARD.encode(bytes));
    } else {
        let absolute = std::path::absolute(path)?;
        entry[path_key] = json!(absolute.display().to_string());
    }
    Ok(())
}

/// Sets a text field from a flag of the same name; the empty text removes it.
fn set_text(entry: &mut Value, cx: &Context, flag: &str, key: &str) {
    if !cx.flags.changed(flag) {
        return;
    }
    match (cx.flags.opt(flag), entry.as_object_mut()) {
        (Some(text), _) => entry[key] = json!(text),
        (None, Some(map)) => {
            map.remove(key);
        }
        (None, None) => {}
    }
}

/// Changes an entry in its file; says whether it is new.
fn set_entry(cx: &Context, section: &str, name: &str, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<bool> {
    let config = load(cx)?;
    let file = edit::file_of(&config, section, name);
    let mut result = Ok(());
    edit::change(&file, |content| result = change(edit::entry(content, section, name)))?;
    result?;
    Ok(config.entry(section, name).is_none())
}

/// Runs `config set-cluster`.
pub async fn set_cluster(cx: &Context) -> Result<()> {
    let name = only(cx, "NAME")?;
    set_entry(cx, "clusters", name, |entry| {
        set_text(entry, cx, "server", "server");
        set_text(entry, cx, "tls-server-name", "tls-server-name");
        set_text(entry, cx, "proxy-url", "proxy-url");
        if cx.flags.changed("insecure-skip-tls-verify") {
            entry["insecure-skip-tls-verify"] = json!(cx.flags.bool("insecure-skip-tls-verify"));
        }
        set_file(entry, cx, "certificate-authority")
    })?;
    out(&format!("Cluster {name:?} set.\n"));
    Ok(())
}

/// Runs `config set-credentials`.
pub async fn set_credentials(cx: &Context) -> Result<()> {
    let name = only(cx, "NAME")?;
    for flag in ["auth-provider", "auth-provider-arg"] {
        if cx.flags.changed(flag) {
            fail!("--{flag} is not supported by this kubectl: use --exec-command");
        }
    }
    set_entry(cx, "users", name, |entry| {
        for flag in ["token", "username", "password"] {
            set_text(entry, cx, flag, flag);
        }
        set_file(entry, cx, "client-certificate")?;
        set_file(entry, cx, "client-key")?;
        if cx.flags.changed("exec-command") {
            entry["exec"]["command"] = json!(cx.flags.text("exec-command"));
            entry["exec"]["apiVersion"] =
                json!(cx.flags.opt("exec-api-version").unwrap_or("client.authentication.k8s.io/v1"));
            entry["exec"]["interactiveMode"] = json!("IfAvailable");
        }
        if cx.flags.changed("exec-arg") {
            entry["exec"]["args"] = json!(cx.flags.list("exec-arg"));
        }
        for pair in cx.flags.array("exec-env") {
            let Some((key, value)) = pair.split_once('=') else { fail!("env {pair} is not key=value") };
            let list = entry["exec"]["env"].as_array().cloned().unwrap_or_default();
            let mut list: Vec<Value> = list.into_iter().filter(|e| e["name"] != key).collect();
            list.push(json!({"name": key, "value": value}));
            entry["exec"]["env"] = json!(list);
        }
        Ok(())
    })?;
    out(&format!("User {name:?} set.\n"));
    Ok(())
}

/// Runs `config set-context`.
pub async fn set_context(cx: &Context) -> Result<()> {
    let current = cx.flags.bool("current");
    let name = if current {
        let name = load(cx)?.current_context().to_owned();
        if name.is_empty() {
            fail!("no current context is set");
        }
        name
    } else {
        match cx.args() {
            [name] => name.clone(),
            _ => fail!("you must specify a non-empty context name or --current"),
        }
    };
    let new = set_entry(cx, "contexts", &name, |entry| {
        for flag in ["cluster", "user", "namespace"] {
            set_text(entry, cx, flag, flag);
        }
        Ok(())
    })?;
    out(&format!("Context {name:?} {}.\n", if new { "created" } else { "modified" }));
    Ok(())
}

/// An entry (list and name) of a kubeconfig, if one is meant, and the fields inside it.
type Property = (Option<(String, String)>, Vec<String>);

/// The parts of a property name such as `clusters.my-cluster.server`: the name of an entry may hold dots.
fn property(config: &Kubeconfig, text: &str) -> Result<Property> {
    let (first, rest) = text.split_once('.').unwrap_or((text, ""));
    if !SECTIONS.iter().any(|(s, _)| *s == first) {
        return Ok((None, text.split('.').map(str::to_owned).collect()));
    }
    let known = config.content[first].as_array().into_iter().flatten().map(|e| plain(&e["name"]));
    let longest = known.filter(|n| rest == n || rest.starts_with(&format!("{n}."))).max_by_key(String::len);
    let name = longest.unwrap_or_else(|| rest.split('.').next().unwrap_or_default().to_owned());
    if name.is_empty() {
        fail!("unable to parse {text:?}: an entry of {first} must be named");
    }
    let fields =
        rest[name.len()..].trim_start_matches('.').split('.').filter(|f| !f.is_empty()).map(str::to_owned).collect();
    Ok((Some((first.to_owned(), name)), fields))
}

/// Runs `config set`.
pub async fn set(cx: &Context) -> Result<()> {
    let [name, value] = cx.args() else {
        return Err(Error::usage(cx.command, "PROPERTY_NAME and PROPERTY_VALUE are required"));
    };
    let config = load(cx)?;
    let (entry, fields) = property(&config, name)?;
    let mut value = match value.as_str() {
        "true" => json!(true),
        "false" => json!(false),
        text => json!(text),
    };
    if cx.flags.bool("set-raw-bytes") {
        value = json!(base64::engine::general_purpose::STANDARD.encode(plain(&value)));
    }
    let file = entry
        .as_ref()
        .map_or_else(|| edit::current_file(&config), |(section, name)| edit::file_of(&config, section, name));
    edit::change(&file, |content| {
        let mut at = match &entry {
            Some((section, name)) => edit::entry(content, section, name),
            None => content,
        };
        for field in &fields {
            at = &mut at[field.as_str()];
        }
        *at = value;
    })?;
    out(&format!("Property {name:?} set.\n"));
    Ok(())
}

/// Runs `config unset`.
pub async fn unset(cx: &Context) -> Result<()> {
    let name = only(cx, "PROPERTY_NAME")?;
    let config = load(cx)?;
    let (entry, fields) = property(&config, name)?;
    let file = entry
        .as_ref()
        .map_or_else(|| edit::current_file(&config), |(section, name)| edit::file_of(&config, section, name));
    edit::change(&file, |content| {
        let mut at = match &entry {
            Some((section, name)) if fields.is_empty() => return edit::remove(content, section, name),
            Some((section, name)) => edit::entry(content, section, name),
            None => content,
        };
        let Some((last, parents)) = fields.split_last() else { return };
        for field in parents {
            at = &mut at[field.as_str()];
        }
        if let Some(map) = at.as_object_mut() {
            map.remove(last);
        }
    })?;
    out(&format!("Property {name:?} unset.\n"));
    Ok(())
}

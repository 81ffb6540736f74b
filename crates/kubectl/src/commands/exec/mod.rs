//! `kubectl exec` and `kubectl attach`: streams of a process in a container.
//!
//! WebSocket (`v5.channel.k8s.io`) is asked for first, as upstream does; a server that does not speak it is asked for SPDY.

mod terminal;

use bytes::{Bytes, BytesMut};
use http::header::HeaderMap;
use http::{Method, Response};
use hyper::body::Incoming;
use serde_json::Value;
use streaming::remotecommand::{self, Options, Reader, Session, Writer};
use streaming::{BoxedIo, upgrade, websocket};
use tokio::io::AsyncReadExt;

use super::logs::{default_container, pods_of};
use crate::cli::context::Context;
use crate::client::Query;
use crate::error::{Error, Result};
use crate::fail;
use crate::resource::Info;
use crate::resource::select;
use terminal::Terminal;

/// Runs `exec`.
pub async fn exec(cx: &Context) -> Result<()> {
    let (before, after) = cx.split_args();
    let filename = cx.flags.changed("filename");
    if before.is_empty() && !filename {
        fail!("pod, type/name or --filename must be specified");
    }
    let command = match cx.flags.dash {
        Some(_) => after,
        None if before.len() > 1 => fail!(
            "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\nSee 'kubectl exec -h' for help and examples"
        ),
        None => &[],
    };
    if command.is_empty() {
        fail!("you must specify at least one command for the container");
    }
    let pod = target(cx, before.first()).await?;
    if matches!(pod.object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        fail!(
            "cannot exec into a container in a completed pod; current phase is {}",
            pod.object["status"]["phase"].as_str().unwrap_or_default()
        );
    }
    let mut query = Query::default();
    for word in command {
        query = query.with("command", word);
    }
    // A name that is none is the server's to refuse.
    let container = match cx.flags.opt("container") {
        Some(name) => name.to_owned(),
        None => container(cx, &pod)?,
    };
    run_streams(cx, &pod, "exec", query.with("container", container), Wishes::of(cx)).await
}

/// Runs `attach`.
pub async fn attach(cx: &Context) -> Result<()> {
    let Some(word) = cx.args().first() else {
        fail!("at least 1 argument is required for attach");
    };
    let pod = target(cx, Some(word)).await?;
    attach_to(cx, &pod, Wishes::of(cx)).await
}

/// Attaches to the chosen container of a pod.
pub async fn attach_to(cx: &Context, pod: &Info, mut wishes: Wishes) -> Result<()> {
    let name = container(cx, pod)?;
    let has = |key: &str| {
        let containers = pod.object["spec"]["containers"].as_array().into_iter().flatten();
        containers.filter(|c| c["name"] == name.as_str()).any(|c| c[key] == true)
    };
    if wishes.tty && !has("tty") {
        eprintln!("error: Unable to use a TTY - container {name} did not allocate one");
        wishes.tty = false;
    }
    if !wishes.quiet {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    run_streams(cx, pod, "attach", Query::default().with("container", name), wishes).await
}

/// What the user asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Pass stdin.
    pub stdin: bool,
    /// Have a terminal.
    pub tty: bool,
    /// Say nothing beside the output.
    pub quiet: bool,
}

impl Wishes {
    /// Reads the flags.
    pub fn of(cx: &Context) -> Self {
        Self { stdin: cx.flags.bool("stdin"), tty: cx.flags.bool("tty"), quiet: cx.flags.bool("quiet") }
    }
}

async fn target(cx: &Context, word: Option<&String>) -> Result<Info> {
    let info = match word {
        Some(word) => select::one(cx, word, "pods").await?,
        None => {
            let (mut infos, errors) = select::objects(cx, &[], select::Selection::default()).await?;
            Error::collect(errors)?;
            if infos.len() != 1 {
                fail!("exactly one object is expected from --filename");
            }
            infos.remove(0)
        }
    };
    let pods = pods_of(cx, info).await?;
    pods.into_iter().next().ok_or_else(|| Error::Plain("no pod found".to_owned()))
}

fn container(cx: &Context, pod: &Info) -> Result<String> {
    let given = cx.flags.opt("container").map(str::to_owned);
    if let Some(name) = given {
        let keys = ["containers", "initContainers", "ephemeralContainers"];
        let known = keys
            .iter()
            .any(|k| pod.object["spec"][k].as_array().into_iter().flatten().any(|c| c["name"] == name.as_str()));
        if !known {
            fail!("cannot attach to the container: container {name} not found in pod {}", pod.name);
        }
        return Ok(name);
    }
    let name = default_container(&pod.object, !cx.flags.bool("quiet"));
    name.map(str::to_owned).ok_or_else(|| Error::Plain(format!("pod {} has no containers", pod.name)))
}

async fn run_streams(cx: &Context, pod: &Info, subresource: &str, query: Query, mut wishes: Wishes) -> Result<()> {
    let terminal = Terminal::open(wishes.stdin && wishes.tty)?;
    if wishes.tty && terminal.is_none() {
        if wishes.stdin {
            eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
        }
        wishes.tty = wishes.tty && !wishes.stdin;
    }
    let options = Options { stdin: wishes.stdin, stdout: true, stderr: !wishes.tty, tty: wishes.tty };
    let yes = |flag: bool| flag.then_some("true");
    let query = query
        .with_opt("stdin", yes(options.stdin))
        .with("stdout", "true")
        .with_opt("stderr", yes(options.stderr))
        .with_opt("tty", yes(options.tty));
    let session = connect(cx, &query.on(&pod.sub_path(subresource)), options).await?;
    let raw = match &terminal {
        Some(terminal) => Some(terminal.raw()?),
        None => None,
    };
    let status = carry(session, terminal.as_ref()).await;
    drop(raw);
    match remotecommand::exit_code(&status) {
        Some(0) => Ok(()),
        Some(code) => Err(Error::Exit(code, format!("command terminated with exit code {code}"))),
        None => Err(Error::Verbatim(format!(
            "error: {}",
            status["message"].as_str().unwrap_or("the stream ended unexpectedly")
        ))),
    }
}

/// Opens the session: WebSocket, else SPDY.
async fn connect(cx: &Context, path: &str, options: Options) -> Result<Session> {
    match websocket_connection(cx, path, websocket::V5).await? {
        Some((io, protocol)) => Ok(remotecommand::websocket_client(io, &protocol, options).await),
        None => {
            let io = spdy_connection(cx, path, remotecommand::SPDY_PROTOCOL).await?;
            remotecommand::spdy_client(io, options).await.map_err(|e| Error::Plain(e.to_string()))
        }
    }
}

/// Asks for a WebSocket. Nothing when the server does not do this one; an error when it refuses the request itself.
pub async fn websocket_connection(cx: &Context, path: &str, protocol: &str) -> Result<Option<(BoxedIo, String)>> {
    let mut headers = HeaderMap::new();
    let key = websocket::request_headers(&mut headers, &[protocol]).map_err(|e| Error::Plain(e.to_string()))?;
    let response = cx.client()?.send(Method::GET, path, &headers, Bytes::new()).await?;
    match upgraded(response).await {
        Ok((headers, io)) => match websocket::check_accept(&headers, &key) {
            Ok(chosen) => Ok(Some((io, chosen))),
            Err(_) => Ok(None),
        },
        Err(refusal) if matches!(refusal.reason(), "Forbidden" | "NotFound" | "Unauthorized") => Err(refusal),
        Err(_) => Ok(None),
    }
}

/// Asks for SPDY.
pub async fn spdy_connection(cx: &Context, path: &str, protocol: &'static str) -> Result<BoxedIo> {
    let mut headers = HeaderMap::new();
    remotecommand::spdy_request_headers(&mut headers, protocol);
    let response = cx.client()?.send(Method::POST, path, &headers, Bytes::new()).await?;
    Ok(upgraded(response).await?.1)
}

async fn upgraded(response: Response<Incoming>) -> Result<(HeaderMap, BoxedIo)> {
    match upgrade::switched(response).await {
        Ok(switched) => Ok(switched),
        Err(upgrade::UpgradeError::Rejected { status, message }) => match serde_json::from_str::<Value>(&message) {
            Ok(value) if value["kind"] == "Status" => Err(Error::Status(Box::new(value))),
            _ => Err(Error::Plain(format!("unable to upgrade connection: {status}: {message}"))),
        },
        Err(error) => Err(Error::Plain(error.to_string())),
    }
}

/// Carries the streams until the process has ended; returns its status.
async fn carry(session: Session, terminal: Option<&Terminal>) -> Value {
    let Session { stdin, stdout, stderr, mut error, resize, transport } = session;
    let input = async {
        if let Some(stdin) = stdin {
            pass_stdin(&stdin).await;
        }
        std::future::pending::<()>().await
    };
    let sizes = async {
        if let (Some(terminal), Some(resize)) = (terminal, resize) {
            terminal.report_sizes(&resize).await;
        }
        std::future::pending::<()>().await
    };
    let output = async {
        let (status, (), ()) =
            tokio::join!(remotecommand::read_status(&mut error), print(stdout, false), print(stderr, true));
        status
    };
    let status = tokio::select! {
        status = output => status,
        () = input => Value::Null,
        () = sizes => Value::Null,
    };
    transport.close().await;
    status
}

async fn pass_stdin(stdin: &Writer) {
    let mut source = tokio::io::stdin();
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(16 << 10);
        match source.read_buf(&mut buffer).await {
            Ok(n) if n > 0 => {
                if stdin.write(buffer.split().freeze()).await.is_err() {
                    return;
                }
            }
            // The end of our stdin, or its failure, is the end of the process's.
            _ => {
                let _gone = stdin.close().await;
                return;
            }
        }
    }
}

async fn print(reader: Option<Reader>, to_stderr: bool) {
    let Some(mut reader) = reader else { return };
    while let Some(bytes) = reader.recv().await {
        if to_stderr {
            use std::io::Write;
            // Nobody reads our stderr: its text has nowhere to go.
            let _unread = std::io::stderr().write_all(&bytes);
        } else {
            crate::out_bytes(&bytes);
        }
    }
}

/// Runs a command in a pod and hands its streams to `work`; for `cp`.
pub async fn session(cx: &Context, pod: &Info, container: &str, command: &[&str], stdin: bool) -> Result<Session> {
    let mut query = Query::default().with("container", container).with("stdout", "true").with("stderr", "true");
    query = query.with_opt("stdin", stdin.then_some("true"));
    for word in command {
        query = query.with("command", word);
    }
    let options = Options { stdin, stdout: true, stderr: true, tty: false };
    connect(cx, &query.on(&pod.sub_path("exec")), options).await
}

/// The container that `-c` names, or the default one; for `cp`.
pub fn chosen_container(cx: &Context, pod: &Info) -> Result<String> {
    container(cx, pod)
}

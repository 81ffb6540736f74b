//! exec and attach: stdin, stdout, stderr, terminal sizes and the final status, over SPDY streams or WebSocket channels.
//!
//! [`Session`] is one such exchange seen from either side. The API server speaks WebSocket `v5` to clients and SPDY to kubelets:
//! [`translate`] joins the two. The error stream carries one `Status` in JSON (protocol v4 and later) and ends the session.

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::spdy::{self, Connection, SpdyError, StreamWriter};
use crate::upgrade::BoxedIo;
use crate::websocket::{ChannelWriter, Channels, WebSocketError};

/// The header with which SPDY peers agree on the version of the stream protocol.
pub const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// The stream protocol that clients here ask for over SPDY.
pub const SPDY_PROTOCOL: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Which streams an exec or attach has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Bytes to the process.
    pub stdin: bool,
    /// Bytes from the process.
    pub stdout: bool,
    /// Its error output; absent with a terminal.
    pub stderr: bool,
    /// A terminal: sizes can be sent.
    pub tty: bool,
}

impl Options {
    /// Reads the query of an exec or attach request.
    pub fn from_query(query: &str) -> Self {
        let flag = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .any(|(k, v)| k == name && matches!(v, "1" | "true" | "t" | "T" | "TRUE" | "True"))
        };
        let tty = flag("tty");
        Self { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !tty, tty }
    }
}

/// What goes wrong in a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The SPDY connection failed.
    #[error(transparent)]
    Spdy(#[from] SpdyError),
    /// The WebSocket connection failed.
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
}

/// The writing side of one stream of a session.
#[derive(Clone)]
pub enum Writer {
    /// A SPDY stream.
    Spdy(StreamWriter),
    /// A WebSocket channel.
    WebSocket(ChannelWriter),
}

impl Writer {
    /// Queues bytes; waits while the connection is congested.
    pub async fn write(&self, data: Bytes) -> Result<(), SessionError> {
        match self {
            Writer::Spdy(w) => Ok(w.write(data).await?),
            Writer::WebSocket(w) => Ok(w.write(data).await?),
        }
    }

    /// Ends the stream.
    pub async fn close(&self) -> Result<(), SessionError> {
        match self {
            Writer::Spdy(w) => Ok(w.close().await?),
            Writer::WebSocket(w) => Ok(w.close().await?),
        }
    }
}

/// Bytes of one stream of a session; ends when the stream or the connection ends.
pub type Reader = mpsc::Receiver<Bytes>;

/// Owns the connection under a session; dropping it ends the connection.
pub enum Transport {
    /// SPDY.
    Spdy(Connection),
    /// WebSocket channels.
    WebSocket(Channels),
}

impl Transport {
    /// Sends what is queued and ends the connection.
    pub async fn close(self) {
        match self {
            Transport::Spdy(c) => c.close().await,
            Transport::WebSocket(c) => c.close().await,
        }
    }
}

/// The client's side of exec or attach.
pub struct Session {
    /// To the process.
    pub stdin: Option<Writer>,
    /// From the process.
    pub stdout: Option<Reader>,
    /// From the process.
    pub stderr: Option<Reader>,
    /// The final status.
    pub error: Reader,
    /// Sizes of the terminal, as JSON `{"Width":…,"Height":…}`.
    pub resize: Option<Writer>,
    /// The connection.
    pub transport: Transport,
}

/// Adds the headers of a SPDY request to `headers`.
pub fn spdy_request_headers(headers: &mut HeaderMap, protocol: &'static str) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
}

/// Starts the client's side over a connection upgraded to SPDY.
pub async fn spdy_client(io: BoxedIo, options: Options) -> Result<Session, SessionError> {
    let connection = Connection::start(io, spdy::Side::Client)?;
    let open = |kind: &'static str| connection.opener_with(kind);
    let error = open("error").await?;
    error.writer.close().await?;
    let stdin = if options.stdin { Some(Writer::Spdy(open("stdin").await?.writer)) } else { None };
    let stdout = if options.stdout { Some(open("stdout").await?.reader) } else { None };
    let stderr = if options.stderr && !options.tty { Some(open("stderr").await?.reader) } else { None };
    let resize = if options.tty { Some(Writer::Spdy(open("resize").await?.writer)) } else { None };
    Ok(Session { stdin, stdout, stderr, error: error.reader, resize, transport: Transport::Spdy(connection) })
}

impl Connection {
    async fn opener_with(&self, kind: &str) -> Result<spdy::Stream, SpdyError> {
        self.open([("streamtype".to_owned(), kind.to_owned())].into()).await
    }
}

/// Starts the client's side over a connection upgraded to a WebSocket with the subprotocol `protocol`.
pub async fn websocket_client(io: BoxedIo, protocol: &str, options: Options) -> Session {
    let mut channels = Channels::start(io, Role::Client, protocol, &[STDOUT, STDERR, ERROR]).await;
    let error = channels.reader(ERROR).unwrap_or_else(|| mpsc::channel(1).1);
    Session {
        stdin: options.stdin.then(|| Writer::WebSocket(channels.writer(STDIN))),
        stdout: channels.reader(STDOUT).filter(|_| options.stdout),
        stderr: channels.reader(STDERR).filter(|_| options.stderr && !options.tty),
        error,
        resize: options.tty.then(|| Writer::WebSocket(channels.writer(RESIZE))),
        transport: Transport::WebSocket(channels),
    }
}

/// Joins a WebSocket `v5` client to a SPDY session with the kubelet; returns when the process's status has been passed on.
/// `backend` is the SPDY connection, or the `Status` that says why there is none.
pub async fn translate(client: BoxedIo, protocol: &str, options: Options, backend: Result<BoxedIo, Value>) {
    let mut channels = Channels::start(client, Role::Server, protocol, &[STDIN, RESIZE]).await;
    // An empty message tells the client that the connection stands.
    let first = if options.stdout {
        STDOUT
    } else if options.stderr {
        STDERR
    } else {
        ERROR
    };
    let status = match channels.writer(first).write(Bytes::new()).await {
        Err(_) => return,
        Ok(()) => match backend {
            Err(status) => status,
            Ok(io) => match spdy_client(io, options).await {
                Err(error) => internal_error(&error.to_string()),
                Ok(session) => relay(&mut channels, session).await,
            },
        },
    };
    let text = Bytes::from(status.to_string());
    if channels.writer(ERROR).write(text).await.is_err() {
        tracing::debug!("client went away before the status of its command");
    }
    channels.close().await;
}

async fn relay(channels: &mut Channels, session: Session) -> Value {
    let Session { stdin, stdout, stderr, mut error, resize, transport } = session;
    let (from_stdin, from_resize) = (channels.reader(STDIN), channels.reader(RESIZE));
    let input = async {
        tokio::join!(copy(from_stdin, stdin), copy(from_resize, resize));
        // The end of the input does not end the session.
        std::future::pending::<()>().await;
    };
    let (to_stdout, to_stderr) =
        (Some(Writer::WebSocket(channels.writer(STDOUT))), Some(Writer::WebSocket(channels.writer(STDERR))));
    let output = async {
        let (_, _, status) = tokio::join!(copy(stdout, to_stdout), copy(stderr, to_stderr), read_status(&mut error));
        status
    };
    let status = tokio::select! {
        status = output => status,
        () = input => unreachable!("the input side never ends the session"),
    };
    transport.close().await;
    status
}

async fn copy(reader: Option<Reader>, writer: Option<Writer>) {
    let (Some(mut reader), Some(writer)) = (reader, writer) else {
        return;
    };
    while let Some(bytes) = reader.recv().await {
        if writer.write(bytes).await.is_err() {
            return;
        }
    }
    // The other side may be gone; then there is nothing left to end.
    if writer.close().await.is_err() {
        tracing::trace!("stream ended after its connection");
    }
}

/// Reads the final status off the error stream: what was sent there, or success when it ended without a word.
pub async fn read_status(error: &mut Reader) -> Value {
    let mut text = Vec::new();
    while let Some(bytes) = error.recv().await {
        text.extend_from_slice(&bytes);
        // A WebSocket error channel has no end of its own: the status is complete when it parses.
        if let Ok(status) = serde_json::from_slice::<Value>(&text) {
            return status;
        }
    }
    if text.is_empty() {
        return json!({"metadata": {}, "status": "Success"});
    }
    internal_error(&format!("error stream protocol error: {}", String::from_utf8_lossy(&text)))
}

/// A `Status` for a failure inside the proxy.
pub fn internal_error(message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("Internal error occurred: {message}"), "reason": "InternalError",
        "details": {"causes": [{"message": message}]}, "code": 500
    })
}

/// The exit code that a status reports: 0 for success, the process's own code, or nothing when the failure is another.
pub fn exit_code(status: &Value) -> Option<i32> {
    if status["status"] == "Success" {
        return Some(0);
    }
    if status["reason"] != "NonZeroExitCode" {
        return None;
    }
    let causes = status["details"]["causes"].as_array()?;
    causes.iter().find(|c| c["reason"] == "ExitCode")?["message"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kubelet's side of exec: echoes stdin to stdout, says "err" on stderr, and exits with 3.
    async fn fake_kubelet(io: BoxedIo, streams: usize) {
        let mut connection = Connection::start(io, spdy::Side::Server).unwrap();
        let mut by_type = std::collections::BTreeMap::new();
        while by_type.len() < streams {
            let stream = connection.accept().await.unwrap();
            by_type.insert(stream.headers["streamtype"].clone(), stream);
        }
        let mut stdin = by_type.remove("stdin").unwrap();
        while let Some(bytes) = stdin.reader.recv().await {
            by_type["stdout"].writer.write(bytes).await.unwrap();
        }
        by_type["stderr"].writer.write(Bytes::from_static(b"err")).await.unwrap();
        by_type["stdout"].writer.close().await.unwrap();
        by_type["stderr"].writer.close().await.unwrap();
        let status = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}});
        by_type["error"].writer.write(Bytes::from(status.to_string())).await.unwrap();
        by_type["error"].writer.close().await.unwrap();
        connection.close().await;
    }

    async fn collect(reader: Option<Reader>) -> Vec<u8> {
        let (mut all, mut reader) = (Vec::new(), reader.unwrap());
        while let Some(bytes) = reader.recv().await {
            all.extend_from_slice(&bytes);
        }
        all
    }

    async fn drive(mut session: Session) {
        let stdin = session.stdin.take().unwrap();
        let (stdout, stderr, status, ()) = tokio::join!(
            collect(session.stdout.take()),
            collect(session.stderr.take()),
            read_status(&mut session.error),
            async {
                stdin.write(Bytes::from_static(b"hello ")).await.unwrap();
                stdin.write(Bytes::from_static(b"world")).await.unwrap();
                stdin.close().await.unwrap();
            }
        );
        assert_eq!(
            (stdout.as_slice(), stderr.as_slice(), exit_code(&status)),
            (&b"hello world"[..], &b"err"[..], Some(3))
        );
    }

    const ALL: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };

    #[tokio::test]
    async fn spdy_exec() {
        let (a, b) = tokio::io::duplex(100);
        tokio::join!(fake_kubelet(Box::new(b), 4), async { drive(spdy_client(Box::new(a), ALL).await.unwrap()).await });
    }

    #[tokio::test]
    async fn websocket_exec_translated_to_spdy() {
        let (a, b) = tokio::io::duplex(100);
        let (c, d) = tokio::io::duplex(100);
        tokio::join!(
            fake_kubelet(Box::new(d), 4),
            translate(Box::new(b), crate::websocket::V5, ALL, Ok(Box::new(c))),
            async { drive(websocket_client(Box::new(a), crate::websocket::V5, ALL).await).await }
        );
    }

    #[tokio::test]
    async fn a_missing_backend_is_reported_on_the_error_channel() {
        let (a, b) = tokio::io::duplex(100);
        let (_, status) =
            tokio::join!(translate(Box::new(b), crate::websocket::V5, ALL, Err(internal_error("no node"))), async {
                let mut session = websocket_client(Box::new(a), crate::websocket::V5, ALL).await;
                read_status(&mut session.error).await
            });
        assert_eq!(status["message"], "Internal error occurred: no node");
        assert_eq!(exit_code(&status), None);
    }

    #[test]
    fn options_from_query() {
        assert_eq!(Options::from_query("command=ls&stdin=true&stdout=1&stderr=true"), ALL);
        assert_eq!(
            Options::from_query("stdout=true&stderr=true&tty=true"),
            Options { stdout: true, tty: true, ..Options::default() }
        );
    }
}

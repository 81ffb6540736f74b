//! Content negotiation: which form the client sends, and which it wants back.

use http::{HeaderMap, header};

/// How one object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    Json,
    Yaml,
    Protobuf,
}

impl Codec {
    pub fn content_type(self) -> &'static str {
        match self {
            Codec::Json => "application/json",
            Codec::Yaml => "application/yaml",
            Codec::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The content type of a watch in this codec (YAML has no stream framing: JSON is used).
    pub fn stream_type(self) -> &'static str {
        match self {
            Codec::Json | Codec::Yaml => "application/json",
            Codec::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// The codec that a media type without parameters names.
    pub fn of_media_type(media: &str) -> Option<Codec> {
        match media {
            "application/json" => Some(Codec::Json),
            "application/yaml" | "text/yaml" | "application/x-yaml" => Some(Codec::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Codec::Protobuf),
            _ => None,
        }
    }
}

/// What the answer is turned into before encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transform {
    None,
    /// `as=Table` (version `v1` or `v1beta1` of meta.k8s.io).
    Table {
        version: String,
    },
    /// `as=PartialObjectMetadata` or its list.
    Partial {
        version: String,
    },
}

/// The outcome of negotiating an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub codec: Codec,
    pub transform: Transform,
    pub pretty: bool,
}

/// One clause of an Accept header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clause {
    pub media: String,
    pub params: Vec<(String, String)>,
    pub quality: f32,
}

impl Clause {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// The clauses of all Accept headers, best first.
pub fn clauses(headers: &HeaderMap) -> Vec<Clause> {
    let mut out: Vec<Clause> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter(|c| !c.trim().is_empty())
        .map(parse_clause)
        .collect();
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    out
}

fn parse_clause(text: &str) -> Clause {
    let mut pieces = text.split(';').map(str::trim);
    let mut clause =
        Clause { media: pieces.next().unwrap_or_default().to_ascii_lowercase(), quality: 1.0, ..Clause::default() };
    for (key, value) in pieces.filter_map(|p| p.split_once('=')) {
        let value = value.trim_matches('"');
        if key == "q" {
            clause.quality = value.parse().unwrap_or(0.0);
        } else {
            clause.params.push((key.to_owned(), value.to_owned()));
        }
    }
    clause
}

/// Picks the answer's form; `None` is 406. `default` answers `*/*` and a missing header. `transforms` says whether
/// tables and partial metadata can be had here.
pub fn accept(headers: &HeaderMap, default: Codec, transforms: bool, pretty: bool) -> Option<Accepted> {
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Some(Accepted { codec: default, transform: Transform::None, pretty });
    }
    clauses.iter().find_map(|clause| {
        let codec = match clause.media.as_str() {
            "*/*" | "application/*" => default,
            media => Codec::of_media_type(media)?,
        };
        let transform = transform_of(clause)?;
        // Tables exist in JSON and YAML only.
        let impossible = codec == Codec::Protobuf && matches!(transform, Transform::Table { .. });
        if impossible || (transform != Transform::None && !transforms) {
            return None;
        }
        let pretty = pretty || clause.param("pretty").is_some_and(|v| v == "1" || v == "true");
        Some(Accepted { codec, transform, pretty })
    })
}

/// The `as`, `g` and `v` parameters; `None` when they ask for something unknown.
fn transform_of(clause: &Clause) -> Option<Transform> {
    let Some(kind) = clause.param("as") else { return Some(Transform::None) };
    let version = clause.param("v").unwrap_or("v1").to_owned();
    if clause.param("g") != Some("meta.k8s.io") || !matches!(version.as_str(), "v1" | "v1beta1") {
        return None;
    }
    match kind {
        "Table" => Some(Transform::Table { version }),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Transform::Partial { version }),
        _ => None,
    }
}

/// Whether the client takes gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(
        |e| {
            let (name, q) = e.split_once(';').unwrap_or((e, ""));
            name.trim() == "gzip" && q.trim() != "q=0"
        },
    )
}

/// The media type of the request body, without parameters, in lower case; JSON when there is none.
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept_header: &str) -> Option<Accepted> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept_header.parse().expect("test header"));
        accept(&headers, Codec::Json, true, false)
    }

    #[test]
    fn kubectl_get_asks_for_a_table_first() {
        let got = check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        );
        assert_eq!(got.map(|a| a.transform), Some(Transform::Table { version: "v1".into() }));
    }

    #[test]
    fn quality_decides_and_unknown_types_are_refused() {
        let got = check("application/json;q=0.5, application/vnd.kubernetes.protobuf");
        assert_eq!(got.map(|a| a.codec), Some(Codec::Protobuf));
        assert_eq!(check("text/plain"), None);
        let table = check("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json");
        assert_eq!(table.map(|a| a.codec), Some(Codec::Json));
        assert_eq!(check("*/*").map(|a| a.codec), Some(Codec::Json));
        assert_eq!(
            check("application/json;as=Nonsense;g=meta.k8s.io;v=v1,*/*").map(|a| a.transform),
            Some(Transform::None)
        );
    }
}

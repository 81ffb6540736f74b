//! Query parameters: the options that upstream's `ListOptions`, `CreateOptions` and so on carry in the URL.

/// The decoded parameters of a query string, in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Query {
        Query(form_urlencoded::parse(query.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }

    pub fn of(uri: &http::Uri) -> Query {
        Query::parse(uri.query().unwrap_or_default())
    }

    /// The first value of `key`.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The first value of `key`, "" when absent.
    pub fn text(&self, key: &str) -> &str {
        self.first(key).unwrap_or_default()
    }

    /// All values of `key`.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean as upstream reads it: there and neither `false` nor `0`; present without a value is true.
    pub fn flag(&self, key: &str) -> bool {
        self.first(key).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// An integer; `None` when absent, empty or malformed (upstream refuses the latter; see `checked_integer`).
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.first(key).and_then(|v| v.parse().ok())
    }
}

//! What names may look like: DNS labels and subdomains, qualified names (label keys), label values. Each check returns
//! upstream's messages; none when the name is good.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

/// A name may not contain these when it becomes a part of a path.
const PATH_WORDS: [&str; 2] = [".", ".."];

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether `text` is not empty, has only `inner` bytes, and starts and ends with `edge` bytes.
fn shaped(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        bytes => edge(bytes[0]) && edge(bytes[bytes.len() - 1]) && bytes.iter().all(|&b| inner(b)),
    }
}

fn lower_or_dash(byte: u8) -> bool {
    lower_alnum(byte) || byte == b'-'
}

fn qualified_byte(byte: u8) -> bool {
    alnum(byte) || matches!(byte, b'-' | b'_' | b'.')
}

fn no_more_than(max: usize, unit: &str) -> String {
    format!("must be no more than {max} {unit}")
}

/// A lowercase RFC 1123 label: what a namespace's name must be.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(no_more_than(LABEL_MAX, "characters"));
    }
    if !shaped(text, lower_alnum, lower_or_dash) {
        errors.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    errors
}

/// An RFC 1035 label: what a service's name must be.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(no_more_than(LABEL_MAX, "characters"));
    }
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if !starts || !shaped(text, lower_alnum, lower_or_dash) {
        errors.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation \
             is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    errors
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(|label| shaped(label, lower_alnum, lower_or_dash))
}

/// A lowercase RFC 1123 subdomain: what most names must be.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        errors.push(no_more_than(SUBDOMAIN_MAX, "characters"));
    }
    if !is_subdomain(text) {
        errors.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    errors
}

/// A qualified name: `name` or `dns.subdomain/name`. Label and annotation keys are such.
pub fn qualified_name(text: &str) -> Vec<String> {
    const SHAPE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
         '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let mut errors = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                // Upstream counts bytes here, characters elsewhere.
                let long = no_more_than(SUBDOMAIN_MAX, "characters");
                let messages = dns1123_subdomain(prefix).into_iter();
                let messages = messages.map(|e| if e == long { no_more_than(SUBDOMAIN_MAX, "bytes") } else { e });
                errors.extend(messages.map(|e| format!("prefix part {e}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {SHAPE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", no_more_than(LABEL_MAX, "bytes")));
    }
    if !shaped(name, alnum, qualified_byte) {
        errors.push(format!("name part {SHAPE}"));
    }
    errors
}

/// A label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_MAX {
        errors.push(no_more_than(LABEL_MAX, "bytes"));
    }
    if !text.is_empty() && !shaped(text, alnum, qualified_byte) {
        errors.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
             validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    errors
}

/// A name that can stand alone in a URL's path.
pub fn path_segment(text: &str) -> Vec<String> {
    if PATH_WORDS.contains(&text) {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].iter().filter(|bad| text.contains(**bad)).map(|bad| format!("may not contain '{bad}'")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        assert!(dns1123_label("a-1").is_empty());
        assert_eq!(dns1123_label("A").len(), 1);
        assert_eq!(dns1123_label(&"A".repeat(64)).len(), 2);
        assert!(dns1123_subdomain("a.b-c.d").is_empty());
        assert_eq!(dns1123_subdomain("a..b").len(), 1);
        assert_eq!(dns1035_label("1a").len(), 1);
        assert!(qualified_name("example.com/My_name.x").is_empty());
        assert_eq!(qualified_name(""), [qualified_name("")[0].as_str(), qualified_name("")[1].as_str()]);
        assert_eq!(qualified_name("")[0], "name part must be non-empty");
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert!(qualified_name("a/b/c")[0].starts_with("a valid label key must consist"));
        assert!(label_value("").is_empty());
        assert_eq!(label_value("-a").len(), 1);
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
    }
}

//! Client configurations of webhooks, as admission, CRD conversion and aggregation share them.

use crate::checks::required;
use crate::field::{Errors, Field};
use crate::names;

const FORM: &str = "; desired format: https://host[/path]";

/// A URL or a service, exactly one.
pub(crate) fn client_config(config: &Field, errors: &mut Errors) {
    let (url, service) = (config.get("url"), config.get("service"));
    match (url.exists(), service.exists()) {
        (true, false) => one_url(&url, errors),
        (false, true) => one_service(&service, errors),
        _ => errors.required(config, "exactly one of url or service is required"),
    }
}

fn one_url(url: &Field, errors: &mut Errors) {
    let (scheme, rest) = match url.str().split_once(':') {
        Some((s, r)) if !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) => (s, r),
        _ => ("", url.str()),
    };
    if !scheme.eq_ignore_ascii_case("https") {
        errors.invalid_as(url, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let authority = rest.strip_prefix("//").map_or("", |r| r.split(['/', '?', '#']).next().unwrap_or(""));
    let host = authority.rsplit('@').next().unwrap_or("");
    if host.is_empty() {
        errors.invalid_as(url, host, format!("host must be specified{FORM}"));
    }
    if let Some((user, _)) = authority.split_once('@') {
        errors.invalid_as(url, user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = rest.split_once('#') {
        errors.invalid_as(url, fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = rest.split('#').next().and_then(|r| r.split_once('?')) {
        errors.invalid_as(url, query, "query parameters are not permitted in the URL");
    }
}

fn one_service(service: &Field, errors: &mut Errors) {
    // Upstream hands the two over in the wrong order, so that each is reported under the other's name.
    for (own, shown) in [("name", "namespace"), ("namespace", "name")] {
        required(&Field::at(service.get(own).value(), service.path().child(shown)), errors);
    }
    port(&service.get("port"), errors);
    let path = service.get("path");
    if path.exists() {
        service_path(&path, errors);
    }
}

/// The port of a service; absent counts as zero.
pub(crate) fn port(port: &Field, errors: &mut Errors) {
    if !(1..=65535).contains(&port.int_or_zero()) {
        errors.invalid_int(port, "port is not valid: must be between 1 and 65535, inclusive");
    }
}

fn service_path(path: &Field, errors: &mut Errors) {
    let text = path.str();
    if text == "/" || text.is_empty() {
        return;
    }
    if text == "//" {
        errors.invalid(path, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        errors.invalid(path, "must start with a '/'");
    }
    // Whatever the first character is, it is taken for the slash.
    let mut rest = text.chars();
    rest.next();
    let rest = rest.as_str();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (i, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(path, format!("segment[{i}] may not be empty"));
            continue;
        }
        for message in names::dns1123_subdomain(step) {
            errors.invalid(path, format!("segment[{i}]: {message}"));
        }
    }
}

//! Image names, as far as the kubelet looks at them.

/// The name with `:latest` where it has neither tag nor digest.
pub(crate) fn with_default_tag(image: &str) -> Result<String, String> {
    let invalid = || Err("couldn't parse image name: invalid reference format".to_owned());
    if image.is_empty() || image.contains(char::is_whitespace) {
        return invalid();
    }
    if let Some((name, digest)) = image.split_once('@') {
        let sound =
            !name.is_empty() && digest.split_once(':').is_some_and(|(kind, hex)| !kind.is_empty() && hex.len() >= 32);
        return if sound { Ok(image.to_owned()) } else { invalid() };
    }
    let (path, last) = image.rsplit_once('/').unwrap_or(("", image));
    let (repository, tag) = last.split_once(':').unwrap_or((last, "latest"));
    let lower = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c));
    let tag_ok = !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    // The registry's host may have upper case and a port; the rest of the path may not.
    let path_ok = path.split('/').skip(1).all(|part| lower(part) && !part.is_empty());
    if repository.is_empty() || !lower(repository) || !tag_ok || !path_ok {
        return invalid();
    }
    Ok(match last.contains(':') {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    })
}

/// The registry's host (with port): the first part when it looks like one, else Docker Hub's.
pub(super) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let cases = [
            ("busybox", Some("busybox:latest")),
            ("host:5000/a/b", Some("host:5000/a/b:latest")),
            ("a/b:1.2", Some("a/b:1.2")),
            (
                "a@sha256:0123456789012345678901234567890123456789",
                Some("a@sha256:0123456789012345678901234567890123456789"),
            ),
            ("UPPER", None),
            ("a b", None),
            ("", None),
            ("a:", None),
        ];
        for (image, want) in cases {
            assert_eq!(with_default_tag(image).ok().as_deref(), want, "{image}");
        }
    }

    #[test]
    fn registries() {
        assert_eq!((registry("busybox"), registry("a/b"), registry("r.io:5/a")), ("docker.io", "docker.io", "r.io:5"));
    }
}

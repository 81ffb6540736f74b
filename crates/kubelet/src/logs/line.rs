//! Lines of a container's log: `TIME STREAM TAGS TEXT`, where the tag `P` says that the line goes on.

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// The line goes on in the next one.
    pub partial: bool,
    /// What the container wrote.
    pub text: &'a [u8],
}

/// Parses a line without its newline; none when it is not in the format.
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let word = |part: &'_ [u8]| std::str::from_utf8(part).ok().map(str::to_owned);
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = word(parts.next()?)?;
    let text = parts.next().unwrap_or_default();
    let known = matches!(stream, "stdout" | "stderr");
    known.then(|| Line { time, stream, partial: tags.split(':').any(|tag| tag == "P"), text })
}

/// The text of a log's end: at most so many lines and bytes.
pub(crate) fn tail_text(log: &[u8], lines: usize, bytes: usize) -> String {
    let mut out = Vec::new();
    for line in log.split(|byte| *byte == b'\n').filter_map(parse) {
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
    }
    let mut start = out.len().saturating_sub(bytes);
    let breaks: Vec<usize> =
        out.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index).collect();
    if breaks.len() > lines {
        start = start.max(breaks[breaks.len() - lines - 1] + 1);
    }
    String::from_utf8_lossy(&out[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = parse(b"2026-01-01T00:00:00.1Z stderr P some text").unwrap();
        assert_eq!((line.stream, line.partial, line.text), ("stderr", true, b"some text".as_slice()));
        assert_eq!(parse(b"t stdout F ").unwrap().text, b"");
        assert!(parse(b"nonsense").is_none());
    }

    #[test]
    fn tails() {
        let log = b"t stdout F a\nt stdout P b\nt stdout F c\nt stderr F d\n";
        assert_eq!(tail_text(log, 2, 100), "bc\nd\n");
        assert_eq!(tail_text(log, 9, 3), "\nd\n");
    }
}

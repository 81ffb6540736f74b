//! Flags in upstream's syntax (`pflag`): `--name=value`, `--name value`, `-n value`, `-nvalue`, bundled shorthands, `--`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};

/// The type of a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Present or not.
    Bool,
    /// Any text.
    Text,
    /// A whole number.
    Int,
    /// A Go duration.
    Duration,
    /// May be given several times.
    Array,
}

/// One flag that a command accepts.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The long name.
    pub name: &'static str,
    /// The one-letter name.
    pub short: Option<char>,
    /// The type of its value.
    pub kind: Kind,
    /// The value when it is given without one.
    pub bare: Option<&'static str>,
    /// The value when it is not given.
    pub default: &'static str,
}

impl Flag {
    /// Reads a line of the table: `name[,short] type[?bare] default`.
    pub fn parse(line: &'static str) -> Self {
        let mut words = line.trim().splitn(3, ' ');
        let (name, kind, default) =
            (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or("-"));
        let (name, short) = match name.split_once(',') {
            Some((name, short)) => (name, short.chars().next()),
            None => (name, None),
        };
        let (kind, bare) = match kind.split_once('?') {
            Some((kind, bare)) => (kind, Some(bare)),
            None => (kind, None),
        };
        let kind = match kind {
            "bool" => Kind::Bool,
            "int" => Kind::Int,
            "duration" => Kind::Duration,
            "array" => Kind::Array,
            _ => Kind::Text,
        };
        let bare = if kind == Kind::Bool { Some("true") } else { bare };
        Self { name, short, kind, bare, default: if default == "-" { "" } else { default } }
    }

    fn display(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.name),
            None => format!("--{}", self.name),
        }
    }

    fn check(&self, value: &str) -> std::result::Result<(), String> {
        let why = match self.kind {
            Kind::Bool if parse_bool(value).is_none() => {
                format!("strconv.ParseBool: parsing {value:?}: invalid syntax")
            }
            Kind::Int if value.parse::<i64>().is_err() => {
                format!("strconv.ParseInt: parsing {value:?}: invalid syntax")
            }
            Kind::Duration if parse_duration(value).is_none() => format!("time: invalid duration {value:?}"),
            _ => return Ok(()),
        };
        Err(format!("invalid argument {value:?} for {:?} flag: {why}", self.display()))
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a Go duration such as `1h30m`, `250ms`; a bare zero is allowed.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// The flags and arguments that were given.
#[derive(Debug, Default)]
pub struct Parsed {
    defaults: BTreeMap<&'static str, (Kind, &'static str)>,
    given: BTreeMap<&'static str, Vec<String>>,
    /// What is no flag, in order.
    pub args: Vec<String>,
    /// How many of `args` came before `--`; nothing when there was none.
    pub dash: Option<usize>,
}

impl Parsed {
    /// Reads `argv` against `flags`. The error is the sentence without the pointer to the help.
    pub fn parse(flags: &[Flag], argv: &[String]) -> std::result::Result<Self, String> {
        let mut parsed = Parsed::default();
        for flag in flags {
            parsed.defaults.insert(flag.name, (flag.kind, flag.default));
        }
        let mut rest = argv.iter();
        while let Some(word) = rest.next() {
            if word == "--" {
                parsed.dash = Some(parsed.args.len());
                parsed.args.extend(rest.by_ref().cloned());
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let flag = flags.iter().find(|f| f.name == name).ok_or_else(|| format!("unknown flag: --{name}"))?;
                let value = match (value, flag.bare) {
                    (Some(value), _) => value,
                    (None, Some(bare)) => bare.to_owned(),
                    (None, None) => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
                };
                parsed.set(flag, value)?;
            } else if word.len() > 1 && word.starts_with('-') {
                parsed.bundle(flags, &word[1..], &mut rest)?;
            } else {
                parsed.args.push(word.clone());
            }
        }
        Ok(parsed)
    }

    /// Reads bundled one-letter flags: `-it`, `-nkube-system`, `-n kube-system`, `-n=kube-system`.
    fn bundle<'a>(
        &mut self,
        flags: &[Flag],
        word: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> std::result::Result<(), String> {
        for (at, letter) in word.char_indices() {
            let flag = flags
                .iter()
                .find(|f| f.short == Some(letter))
                .ok_or_else(|| format!("unknown shorthand flag: {letter:?} in -{word}"))?;
            let tail = &word[at + letter.len_utf8()..];
            if let Some(value) = tail.strip_prefix('=') {
                return self.set(flag, value.to_owned());
            }
            match flag.bare {
                Some(bare) => self.set(flag, bare.to_owned())?,
                None if !tail.is_empty() => return self.set(flag, tail.to_owned()),
                None => {
                    let value =
                        rest.next().cloned().ok_or_else(|| format!("flag needs an argument: {letter:?} in -{word}"))?;
                    return self.set(flag, value);
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, flag: &Flag, value: String) -> std::result::Result<(), String> {
        flag.check(&value)?;
        let values = self.given.entry(flag.name).or_default();
        if flag.kind != Kind::Array {
            values.clear();
        }
        values.push(value);
        Ok(())
    }

    /// Whether the flag was given.
    pub fn changed(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value of a flag, or its default, or nothing when the command has no such flag.
    pub fn text(&self, name: &str) -> &str {
        match self.given.get(name).and_then(|v| v.last()) {
            Some(value) => value,
            None => self.defaults.get(name).map_or("", |(_, default)| default),
        }
    }

    /// The value of a flag when it is not empty.
    pub fn opt(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|v| !v.is_empty())
    }

    /// The value of a boolean flag.
    pub fn bool(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    /// The value of a numeric flag.
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// The value of a duration flag.
    pub fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).unwrap_or(Duration::ZERO)
    }

    /// The values of a flag that may be given several times, as they were given.
    pub fn array(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// The values of a flag that may be given several times or hold several values between commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.array(name).iter().flat_map(|v| v.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect()
    }

    /// An error when a flag that must be given was not.
    pub fn require(&self, name: &str) -> Result<&str> {
        if self.changed(name) {
            return Ok(self.text(name));
        }
        Err(Error::Plain(format!("required flag(s) {name:?} not set")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Flag> {
        [
            "namespace,n string -",
            "stdin,i bool false",
            "tty,t bool false",
            "tail int -1",
            "filename,f array -",
            "dry-run string?unchanged none",
            "timeout duration 0s",
        ]
        .map(Flag::parse)
        .to_vec()
    }

    fn parse(line: &str) -> std::result::Result<Parsed, String> {
        Parsed::parse(&table(), &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn values_in_all_spellings() {
        for line in ["--namespace a", "--namespace=a", "-n a", "-na", "-n=a", "-itna", "-it -n a pod"] {
            assert_eq!(parse(line).unwrap().text("namespace"), "a", "{line}");
        }
        let p = parse("-it pod -f a --dry-run -f b,c -- ls -n").unwrap();
        assert!(p.bool("stdin") && p.bool("tty") && p.changed("tty"));
        assert_eq!((p.text("dry-run"), p.dash), ("unchanged", Some(1)));
        assert_eq!(p.args, ["pod", "ls", "-n"]);
        assert_eq!(
            (p.array("filename"), p.list("filename")),
            (&["a".to_owned(), "b,c".to_owned()][..], vec!["a".into(), "b".into(), "c".into()])
        );
        assert_eq!((p.int("tail"), p.duration("timeout")), (-1, Duration::ZERO));
    }

    #[test]
    fn wrong_flags_are_said_as_upstream_says_them() {
        for (line, said) in [
            ("--foo", "unknown flag: --foo"),
            ("-x", "unknown shorthand flag: 'x' in -x"),
            ("--tail", "flag needs an argument: --tail"),
            ("-in", "flag needs an argument: 'n' in -in"),
            ("--tail=x", "invalid argument \"x\" for \"--tail\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("--timeout=5", "invalid argument \"5\" for \"--timeout\" flag: time: invalid duration \"5\""),
        ] {
            assert_eq!(parse(line).unwrap_err(), said);
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("1h30m", Some(5400.0)),
            ("250ms", Some(0.25)),
            ("0", Some(0.0)),
            ("1.5s", Some(1.5)),
            ("5", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_secs_f64()), want, "{text}");
        }
    }
}

//! Command-line flags as a table.
//!
//! Every daemon has a `flags.txt`: one flag a line, `name type default effect [deprecated]`. The table is upstream's, whole;
//! `used` flags do what they say, `ignored` ones are accepted with one warning in the log, because they have no meaning
//! here. Values are checked when they are parsed, so that a daemon never starts on a wrong one. Syntax is pflag's:
//! `--name=value`, `--name value`, `--bool`, `--bool=false`, lists repeated or comma-separated, `_` for `-`.

use std::{collections::BTreeMap, ffi::OsString, net::IpAddr, time::Duration};

use clap::{Arg, ArgAction, Command, error::ContextKind, error::ContextValue, error::ErrorKind};

use crate::duration::parse_duration;

/// The version that every component reports (`--version`, `/version`): the Kubernetes API that it implements.
pub const VERSION: &str = "v1.36.2+keelson";

const COMMON: &str = "v int 0 used\nvmodule string - ignored\nversion string - used";

/// How a value is written on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bool,
    Int,
    Float,
    Duration,
    Text,
    Ip,
    IpPort,
    /// Comma-separated, repeatable.
    List,
    /// Repeatable, a comma is part of the value.
    Array,
    /// `k=v` pairs, comma-separated, repeatable.
    Map,
}

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "float" => Self::Float,
            "duration" => Self::Duration,
            "string" => Self::Text,
            "ip" => Self::Ip,
            "ipport" => Self::IpPort,
            "list" => Self::List,
            "array" => Self::Array,
            "map" => Self::Map,
            _ => return None,
        })
    }

    /// Why `value` is not of this kind.
    fn check(self, value: &str) -> Result<(), String> {
        let wrong = match self {
            Self::Bool => value.parse::<bool>().err().map(|_| "must be true or false".to_owned()),
            Self::Int => value.parse::<i64>().err().map(|e| e.to_string()),
            Self::Float => value.parse::<f64>().err().map(|e| e.to_string()),
            Self::Duration => parse_duration(value).err().map(|e| e.to_string()),
            Self::Ip => {
                value.parse::<IpAddr>().err().filter(|_| !value.is_empty()).map(|_| "not an IP address".to_owned())
            }
            Self::Map => pairs(value)
                .find(|p| !p.is_empty() && !p.contains(['=', ':']))
                .map(|p| format!("{p:?} is not key=value")),
            Self::Text | Self::IpPort | Self::List | Self::Array => None,
        };
        wrong.map_or(Ok(()), Err)
    }
}

#[derive(Clone, Copy, Debug)]
struct Spec {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    used: bool,
    deprecated: bool,
}

fn specs(table: &'static str) -> impl Iterator<Item = Spec> {
    COMMON.lines().chain(table.lines()).map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(|line| {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or_else(|| panic!("flag table: short line {line:?}"));
        let (name, kind, default, effect) = (next(), next(), next(), next());
        Spec {
            name,
            kind: Kind::parse(kind).unwrap_or_else(|| panic!("flag table: unknown type in {line:?}")),
            default: if default == "-" { "" } else { default },
            used: effect == "used",
            deprecated: words.next() == Some("deprecated"),
        }
    })
}

/// A command line that was refused; `Display` is the one line to print.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FlagError {
    #[error("unknown flag: {flag}{}", suggestion.as_ref().map(|s| format!(" (did you mean {s}?)")).unwrap_or_default())]
    Unknown { flag: String, suggestion: Option<String> },
    #[error("invalid argument {value:?} for \"--{flag}\" flag: {why}")]
    Invalid { flag: String, value: String, why: String },
    #[error("{0}")]
    Syntax(String),
    /// Not an error: `--help` or `--version` was asked for, and this is the text.
    #[error("{0}")]
    Print(String),
}

/// The parsed flags of one daemon.
#[derive(Debug, Clone)]
pub struct Flags {
    component: &'static str,
    specs: BTreeMap<&'static str, Spec>,
    set: BTreeMap<&'static str, Vec<String>>,
}

impl Flags {
    /// Parses the process's arguments; prints and exits (0 for help and version, 1 for an error) where there is nothing to run.
    pub fn parse_or_exit(component: &'static str, table: &'static str) -> Self {
        match Self::parse(component, table, std::env::args_os().skip(1)) {
            Ok(flags) => flags,
            Err(FlagError::Print(text)) => {
                println!("{text}");
                std::process::exit(0)
            }
            Err(error) => {
                eprintln!("Error: {error}");
                std::process::exit(1)
            }
        }
    }

    /// Parses `args` (without the program's name) by `table`.
    pub fn parse(
        component: &'static str,
        table: &'static str,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, FlagError> {
        let specs: BTreeMap<&'static str, Spec> = specs(table).map(|s| (s.name, s)).collect();
        let args = args.into_iter().map(|a| normalize(a.into()));
        let mut matches = command(component, &specs).try_get_matches_from(args).map_err(|e| explain(&e))?;
        let mut set = BTreeMap::new();
        for spec in specs.values() {
            let Some(values) = matches.remove_many::<String>(spec.name) else { continue };
            let values: Vec<String> = values.collect();
            for value in &values {
                spec.kind.check(value).map_err(|why| FlagError::Invalid {
                    flag: spec.name.to_owned(),
                    value: value.clone(),
                    why,
                })?;
            }
            set.insert(spec.name, values);
        }
        if set.contains_key("version") {
            return Err(FlagError::Print(format!("Kubernetes {VERSION}")));
        }
        Ok(Flags { component, specs, set })
    }

    /// Logs one warning for each flag that was given and has no effect here, or is deprecated.
    pub fn warn_ignored(&self) {
        for (name, spec) in self.set.keys().filter_map(|n| self.specs.get_key_value(n)) {
            if !spec.used {
                tracing::warn!(component = self.component, flag = name, "flag is accepted and has no effect");
            } else if spec.deprecated {
                tracing::warn!(
                    component = self.component,
                    flag = name,
                    "flag is deprecated: use the configuration file"
                );
            }
        }
    }

    /// Every flag that the command line set, in name order.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        self.set.keys().copied()
    }

    /// Whether the command line set `name`.
    pub fn is_set(&self, name: &str) -> bool {
        self.spec(name);
        self.set.contains_key(name)
    }

    /// The value as text; the default where unset (empty where there is none).
    pub fn get(&self, name: &str) -> &str {
        let spec = self.spec(name);
        self.set.get(name).and_then(|v| v.last()).map_or(spec.default, String::as_str)
    }

    /// The value, or `None` where it is empty.
    pub fn opt(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|v| !v.is_empty())
    }

    pub fn bool(&self, name: &str) -> bool {
        self.get(name) == "true" || self.get(name).parse() == Ok(true)
    }

    /// 0 where there is neither a value nor a default.
    pub fn int(&self, name: &str) -> i64 {
        self.opt(name).map_or(0, |v| v.parse().expect("checked when parsed"))
    }

    /// 0 where there is neither a value nor a default.
    pub fn float(&self, name: &str) -> f64 {
        self.opt(name).map_or(0.0, |v| v.parse().expect("checked when parsed"))
    }

    /// Zero where there is neither a value nor a default.
    pub fn duration(&self, name: &str) -> Duration {
        self.opt(name).map_or(Duration::ZERO, |v| parse_duration(v).expect("checked when parsed"))
    }

    /// All items of a list flag, in order.
    pub fn list(&self, name: &str) -> Vec<String> {
        let spec = self.spec(name);
        let split = |v: &str| -> Vec<String> {
            if spec.kind == Kind::Array {
                vec![v.to_owned()]
            } else {
                v.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
            }
        };
        match self.set.get(name) {
            Some(values) => values.iter().flat_map(|v| split(v)).collect(),
            None if spec.default.is_empty() => Vec::new(),
            None => split(spec.default),
        }
    }

    /// All pairs of a `k=v,...` flag; a later one wins.
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        let text = |v: &String| pairs(v).filter_map(split_pair).collect::<Vec<_>>();
        self.spec(name);
        self.set.get(name).into_iter().flatten().flat_map(text).collect()
    }

    fn spec(&self, name: &str) -> &Spec {
        let spec = self.specs.get(name).unwrap_or_else(|| panic!("{} has no flag --{name}", self.component));
        debug_assert!(spec.used, "--{name} is read but marked as ignored in the flag table of {}", self.component);
        spec
    }
}

fn pairs(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn split_pair(pair: &str) -> Option<(String, String)> {
    let (k, v) = pair.split_once('=').or_else(|| pair.split_once(':'))?;
    Some((k.trim().to_owned(), v.trim().to_owned()))
}

/// `--some_flag=a_b` → `--some-flag=a_b`.
fn normalize(arg: OsString) -> OsString {
    let Some(text) = arg.to_str().filter(|t| t.starts_with("--")) else { return arg };
    match text.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")).into(),
        None => text.replace('_', "-").into(),
    }
}

fn command(component: &'static str, specs: &BTreeMap<&'static str, Spec>) -> Command {
    let args = specs.values().map(|spec| {
        let arg = Arg::new(spec.name)
            .long(spec.name)
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .hide_possible_values(true);
        let arg = if spec.default.is_empty() { arg } else { arg.help(format!("default {}", spec.default)) };
        let arg = if spec.name == "v" { arg.short('v') } else { arg };
        match spec.kind {
            Kind::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ if spec.name == "version" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ => arg.num_args(1),
        }
    });
    Command::new(component).no_binary_name(true).disable_version_flag(true).args(args)
}

fn explain(error: &clap::Error) -> FlagError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(s)) => Some(s.clone()),
        Some(ContextValue::Strings(s)) => s.first().cloned(),
        _ => None,
    };
    match error.kind() {
        ErrorKind::DisplayHelp => FlagError::Print(error.render().to_string()),
        ErrorKind::UnknownArgument => FlagError::Unknown {
            flag: text(ContextKind::InvalidArg).unwrap_or_default(),
            suggestion: text(ContextKind::SuggestedArg),
        },
        _ => FlagError::Syntax(
            error.render().to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "bind-address ip 0.0.0.0 used\nleader-elect bool true used\nperiod duration 1m30s used\n\
        controllers list * used\nfeature-gates map - used\nsecure-port int 10257 used\nold string - ignored\nissuer array - used";

    fn parse(args: &[&str]) -> Result<Flags, FlagError> {
        Flags::parse("test", TABLE, args)
    }

    #[test]
    fn values_and_defaults() {
        let flags = parse(&[
            "--secure_port=1",
            "--leader-elect=false",
            "--controllers",
            "a,-b",
            "--controllers=c",
            "--feature-gates=A=true,B=false",
            "--issuer=x,y",
            "-v",
            "4",
        ])
        .unwrap();
        assert_eq!((flags.int("secure-port"), flags.bool("leader-elect"), flags.int("v")), (1, false, 4));
        assert_eq!(flags.list("controllers"), ["a", "-b", "c"]);
        assert_eq!(flags.list("issuer"), ["x,y"]);
        assert_eq!(flags.map("feature-gates").get("B").map(String::as_str), Some("false"));
        assert_eq!(flags.duration("period"), Duration::from_secs(90));
        assert!(flags.is_set("secure-port") && !flags.is_set("period"));
        assert!(parse(&["--leader-elect"]).unwrap().bool("leader-elect"));
    }

    #[test]
    fn a_wrong_command_line_is_one_line() {
        let refused = |args: &[&str]| parse(args).unwrap_err().to_string();
        assert_eq!(refused(&["--leader-elec"]), "unknown flag: --leader-elec (did you mean --leader-elect?)");
        assert_eq!(
            refused(&["--secure-port=x"]),
            "invalid argument \"x\" for \"--secure-port\" flag: invalid digit found in string"
        );
        assert!(refused(&["--period=5"]).starts_with("invalid argument \"5\" for \"--period\" flag"));
        assert!(refused(&["--bind-address=1.2.3"]).contains("not an IP address"));
        assert!(!refused(&["--secure-port"]).contains('\n'));
    }

    #[test]
    fn version_is_printed() {
        assert_eq!(parse(&["--version"]).unwrap_err(), FlagError::Print(format!("Kubernetes {VERSION}")));
    }
}

//! From words to a command: the table of commands, its parsing, help, suggestions and plugins.
//!
//! `commands.txt` says which commands and flags exist (upstream's); [`table`] says which function runs a command. A command without
//! a function is known but refused.

pub mod context;
pub mod flags;
mod help;
pub(crate) mod plugins;
pub mod table;

use crate::error::{Error, Result};
use context::Context;
use flags::{Flag, Parsed};

const COMMANDS: &str = include_str!("commands.txt");

/// Flags of upstream that would change what is done, and cannot be honoured here: giving them another value than their default is
/// an error. Flags about logs, profiles and connections' compression have no meaning here and are accepted.
const UNSUPPORTED: &[&str] = &[
    "accept-hosts",
    "accept-paths",
    "allow-missing-template-keys",
    "append-server-path",
    "disable-filter",
    "exec-interactive-mode",
    "exec-provide-cluster-info",
    "match-server-version",
    "profile",
    "reject-methods",
    "reject-paths",
    "resolve",
    "server-print",
    "skip-wait-for-delete-timeout",
    "sum",
    "windows-line-endings",
    "www-prefix",
];

/// What the table says about one command.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The words that name it.
    pub path: &'static str,
    /// What it does, in one line.
    pub short: &'static str,
    /// How it is used.
    pub usage: &'static str,
    /// Other names of its last word.
    pub aliases: &'static str,
    /// The group of the top-level help.
    pub section: &'static str,
    flags: Vec<&'static str>,
}

/// The commands in the table's order; the first is the pseudo command with the global flags.
fn specs() -> Vec<Spec> {
    let mut all: Vec<Spec> = Vec::with_capacity(128);
    let mut section = "";
    for line in COMMANDS.lines().filter(|l| !l.starts_with('#')) {
        if let Some(name) = line.strip_prefix("= ") {
            section = name;
            if name == "globals" {
                all.push(Spec { path: "", short: "", usage: "", aliases: "", section, flags: Vec::new() });
            }
        } else if line.starts_with(' ') {
            if let Some(last) = all.last_mut() {
                last.flags.push(line);
            }
        } else {
            // The usage may hold bars of its own.
            let (head, aliases) = line.rsplit_once(" |").unwrap_or((line, ""));
            let mut fields = head.splitn(3, " | ");
            let mut field = || fields.next().unwrap_or_default().trim();
            let (path, short, usage, aliases) = (field(), field(), field(), aliases.trim());
            all.push(Spec { path, short, usage, aliases, section, flags: Vec::new() });
        }
    }
    all
}

fn global_flags(specs: &[Spec]) -> Vec<Flag> {
    specs.first().map_or_else(Vec::new, |g| g.flags.iter().map(|l| Flag::parse(l)).collect())
}

fn is_child(path: &str, parent: &str) -> bool {
    let rest = if parent.is_empty() { Some(path) } else { path.strip_prefix(parent).and_then(|r| r.strip_prefix(' ')) };
    rest.is_some_and(|r| !r.is_empty() && !r.contains(' '))
}

fn children<'a>(specs: &'a [Spec], parent: &'a str) -> impl Iterator<Item = &'a Spec> {
    specs.iter().filter(move |s| is_child(s.path, parent))
}

/// Splits the words into the command that they name and the words left for it.
fn find<'a>(specs: &'a [Spec], argv: &[String]) -> (Option<&'a Spec>, Vec<String>) {
    let globals = global_flags(specs);
    let mut current: Option<&Spec> = None;
    let mut rest = Vec::new();
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word.clone());
            break;
        }
        if word.len() > 1 && word.starts_with('-') {
            rest.push(word.clone());
            if takes_next_word(&globals, current, word) {
                rest.extend(words.next().cloned());
            }
            continue;
        }
        let parent = current.map_or("", |c| c.path);
        let named = children(specs, parent)
            .find(|s| s.path.rsplit(' ').next() == Some(word) || s.aliases.split(',').any(|a| a == word));
        match named {
            Some(spec) => current = Some(spec),
            None => {
                rest.push(word.clone());
                break;
            }
        }
    }
    rest.extend(words.cloned());
    (current, rest)
}

/// Whether a flag word is followed by its value, so that the value is not taken for a command.
fn takes_next_word(globals: &[Flag], current: Option<&Spec>, word: &str) -> bool {
    let own: Vec<Flag> = current.map_or_else(Vec::new, |c| c.flags.iter().map(|l| Flag::parse(l)).collect());
    let mut all = globals.iter().chain(&own);
    if word.contains('=') {
        return false;
    }
    match word.strip_prefix("--") {
        Some(long) => all.any(|f| f.name == long && f.bare.is_none()),
        None => {
            let last = word.chars().nth(1);
            word.chars().count() == 2 && all.any(|f| f.short == last && f.bare.is_none())
        }
    }
}

/// Runs the command that the words name.
pub async fn run(argv: Vec<String>) -> Result<()> {
    let specs = specs();
    let (spec, rest) = find(&specs, &argv);
    let wants_help = rest.iter().take_while(|w| *w != "--").any(|w| w == "--help" || w == "-h");
    let Some(spec) = spec else {
        return without_command(&specs, rest, wants_help);
    };
    if wants_help {
        crate::out(&help::command(&specs, spec));
        return Ok(());
    }
    let mut flags: Vec<Flag> = spec.flags.iter().map(|l| Flag::parse(l)).collect();
    for global in global_flags(&specs) {
        let shadowed = flags.iter().any(|f| f.short.is_some() && f.short == global.short);
        if !flags.iter().any(|f| f.name == global.name) {
            flags.push(Flag { short: global.short.filter(|_| !shadowed), ..global });
        }
    }
    let parsed = Parsed::parse(&flags, &rest)
        .map_err(|message| Error::Plain(format!("{message}\nSee 'kubectl {} --help' for usage.", spec.path)))?;
    if let Some(flag) = flags.iter().find(|f| UNSUPPORTED.contains(&f.name) && parsed.text(f.name) != f.default) {
        return Err(Error::Plain(format!("--{} is not supported by this kubectl", flag.name)));
    }
    match table::run_of(spec.path) {
        Some(run) => {
            let context = Context::new(spec.path, parsed);
            run(&context).await?;
            context.check_warnings()
        }
        None if children(&specs, spec.path).next().is_some() => group(&specs, spec, &parsed),
        None => Err(Error::Plain(format!("kubectl {} is not supported by this kubectl", spec.path))),
    }
}

/// `kubectl rollout` says its help; `kubectl rollout foo` is an error.
fn group(specs: &[Spec], spec: &Spec, parsed: &Parsed) -> Result<()> {
    if let Some(unknown) = parsed.args.first() {
        return Err(Error::usage(spec.path, format!("unknown command {:?}", unknown)));
    }
    let text = help::command(specs, spec);
    match spec.path {
        "certificate" => {
            crate::out(&text);
            Ok(())
        }
        // Upstream: most groups end with 1 where no command follows, and say their help on stderr.
        "rollout" => {
            crate::out(&text);
            Err(Error::Exit(1, String::new()))
        }
        _ => Err(Error::Exit(1, text)),
    }
}

fn without_command(specs: &[Spec], rest: Vec<String>, wants_help: bool) -> Result<()> {
    let Some(at) = rest.iter().position(|w| !w.starts_with('-')) else {
        if let Some(flag) = rest.first().filter(|_| !wants_help) {
            let parsed = Parsed::parse(&global_flags(specs), &rest);
            if let Err(message) = parsed {
                return Err(Error::Plain(format!("{message}\nSee 'kubectl --help' for usage.")));
            }
            debug_assert!(!flag.is_empty());
        }
        crate::out(&help::top(specs));
        return Ok(());
    };
    let word = rest[at].as_str();
    match word {
        "help" => {
            let (spec, _) = find(specs, &rest[at + 1..]);
            crate::out(&spec.map_or_else(|| help::top(specs), |s| help::command(specs, s)));
            return Ok(());
        }
        "options" => {
            crate::out(&help::options(specs));
            return Ok(());
        }
        _ => {}
    }
    if at == 0
        && let Some(plugin) = plugins::find(&rest)
    {
        return Err(plugins::exec(&plugin.path, &rest[plugin.words..]));
    }
    let mut message = format!("unknown command {word:?} for \"kubectl\"");
    let similar = help::suggestions(specs, word);
    if !similar.is_empty() {
        message.push_str("\n\nDid you mean this?\n");
        for name in similar {
            message.push_str(&format!("\t{name}\n"));
        }
    }
    Err(Error::Plain(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn commands_are_found_behind_flags() {
        let specs = specs();
        for (line, path, rest) in [
            ("get pods", "get", "pods"),
            ("-n kube-system get pods -o wide", "get", "-n kube-system pods -o wide"),
            ("--context=a create secret generic x", "create secret generic", "--context=a x"),
            ("create deploy web --image=a", "create deployment", "web --image=a"),
            ("exec web -- get pods", "exec", "web -- get pods"),
            ("rollout undo deploy/a", "rollout undo", "deploy/a"),
            ("top nodes", "top node", ""),
            ("create -f x.yaml", "create", "-f x.yaml"),
        ] {
            let (spec, left) = find(&specs, &words(line));
            assert_eq!((spec.map(|s| s.path), left), (Some(path), words(rest)), "{line}");
        }
    }

    #[test]
    fn the_table_is_whole() {
        let specs = specs();
        assert!(specs.len() > 100);
        for spec in &specs[1..] {
            assert!(!spec.short.is_empty() && spec.usage.starts_with(spec.path), "{}", spec.path);
        }
        for (path, _) in table::RUN {
            assert!(specs.iter().any(|s| s.path == *path), "{path} is not in commands.txt");
        }
        for path in table::REFUSED {
            assert!(table::run_of(path).is_none() && specs.iter().any(|s| s.path == *path), "{path}");
        }
        for spec in &specs[1..] {
            let known = table::run_of(spec.path).is_some() || table::REFUSED.contains(&spec.path);
            assert!(known || children(&specs, spec.path).next().is_some(), "{} has no function", spec.path);
        }
    }
}

//! Help texts, in upstream's layout.

use super::flags::{Flag, Kind};
use super::{Spec, children};

const FOOTER: &str = "Use \"kubectl options\" for a list of global command-line options (applies to all commands).\n";

/// The help of `kubectl` itself.
pub(super) fn top(specs: &[Spec]) -> String {
    let mut text = "kubectl controls the Kubernetes cluster manager.\n\n Find more information at: https://kubernetes.io/docs/reference/kubectl/\n".to_owned();
    let mut section = "";
    for spec in children(specs, "") {
        if spec.section != section {
            section = spec.section;
            if section == "Other Commands:" {
                text.push_str("\nSubcommands provided by plugins:\n");
            }
            text.push_str(&format!("\n{section}\n"));
        }
        text.push_str(&format!("  {:<15} {}\n", spec.path, spec.short));
    }
    text.push_str("\nUsage:\n  kubectl [flags] [options]\n\nUse \"kubectl <command> --help\" for more information about a given command.\n");
    text.push_str(FOOTER);
    text
}

/// The help of one command.
pub(super) fn command(specs: &[Spec], spec: &Spec) -> String {
    let mut text = format!("{}.\n", spec.short);
    let subcommands: Vec<&Spec> = children(specs, spec.path).collect();
    if !spec.aliases.is_empty() {
        let own = spec.path.rsplit(' ').next().unwrap_or_default();
        text.push_str(&format!("\nAliases:\n{own}, {}\n", spec.aliases.replace(',', ", ")));
    }
    if !subcommands.is_empty() {
        text.push_str("\nAvailable Commands:\n");
        let names = || subcommands.iter().map(|s| s.path.rsplit(' ').next().unwrap_or_default());
        let width = names().map(str::len).max().unwrap_or(0).max(11) + 2;
        for (name, sub) in names().zip(&subcommands) {
            text.push_str(&format!("  {name:<width$} {}\n", sub.short, width = width));
        }
    }
    if !spec.flags.is_empty() {
        text.push_str("\nOptions:\n");
        text.push_str(&flag_list(&spec.flags));
    }
    text.push_str(&format!("\nUsage:\n  kubectl {}\n\n", spec.usage));
    if !subcommands.is_empty() {
        text.push_str(&format!(
            "Use \"kubectl {} <command> --help\" for more information about a given command.\n",
            spec.path
        ));
    }
    text.push_str(FOOTER);
    text
}

/// The global flags.
pub(super) fn options(specs: &[Spec]) -> String {
    let flags = specs.first().map_or(&[][..], |s| &s.flags);
    format!("The following options can be passed to any command:\n\n{}", flag_list(flags))
}

fn flag_list(lines: &[&'static str]) -> String {
    let mut text = String::new();
    for flag in lines.iter().map(|l| Flag::parse(l)) {
        let short = flag.short.filter(|s| s.to_string() != flag.name).map_or("    ".to_owned(), |s| format!("-{s}, "));
        let value = match flag.kind {
            Kind::Text => format!("'{}'", flag.default),
            Kind::Array => format!("[{}]", flag.default),
            _ => flag.default.to_owned(),
        };
        text.push_str(&format!("{}--{}={value}\n", if short.trim().is_empty() { "    " } else { &short }, flag.name));
    }
    text
}

/// Command names that look like `word` (cobra's rule: distance at most 2, or a common beginning).
pub(super) fn suggestions(specs: &[Spec], word: &str) -> Vec<&'static str> {
    let lower = word.to_lowercase();
    children(specs, "").map(|s| s.path).filter(|name| distance(&lower, name) <= 2 || name.starts_with(&lower)).collect()
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = if ca == *cb { diagonal } else { diagonal + 1 };
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_as_upstream() {
        let specs = super::super::specs();
        assert_eq!(suggestions(&specs, "gett"), ["set", "get"]);
        assert_eq!(suggestions(&specs, "desc"), ["describe"]);
        assert!(suggestions(&specs, "frobnicate").is_empty());
    }
}

//! What commands that change objects have in common: dry runs, write options, and saying what was done.

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::client::Query;
use crate::error::Result;
use crate::output::printer::{Format, without_managed_fields};
use crate::resource::Info;
use crate::{fail, out};

/// `--dry-run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    /// Change the cluster.
    No,
    /// Only print.
    Client,
    /// Ask the server without changing anything.
    Server,
}

impl DryRun {
    /// Reads the flag.
    pub fn of(cx: &Context) -> Result<Self> {
        match cx.flags.text("dry-run") {
            "" | "none" | "false" => Ok(DryRun::No),
            "client" => Ok(DryRun::Client),
            "unchanged" | "true" => {
                eprintln!("W: --dry-run is deprecated and can be replaced with --dry-run=client");
                Ok(DryRun::Client)
            }
            "server" => Ok(DryRun::Server),
            other => fail!("Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."),
        }
    }

    /// What is said behind a sentence.
    pub fn suffix(self) -> &'static str {
        match self {
            DryRun::No => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// The query of a write: dry run, field manager, field validation.
pub fn write_query(cx: &Context, dry_run: DryRun) -> Result<Query> {
    let validation = match cx.flags.text("validate") {
        "" => None,
        "true" | "strict" => Some("Strict"),
        "warn" => Some("Warn"),
        "false" | "ignore" => Some("Ignore"),
        other => {
            fail!("invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)")
        }
    };
    Ok(Query::default()
        .with_opt("dryRun", (dry_run == DryRun::Server).then_some("All"))
        .with_opt("fieldManager", cx.flags.opt("field-manager"))
        .with_opt("fieldValidation", validation))
}

/// Says what was done to objects, in the form that `--output` asks for.
pub struct Reporter<'a> {
    cx: &'a Context,
    /// The form.
    pub format: Format,
    dry_run: DryRun,
    collected: RefCell<Vec<Value>>,
    documents: Cell<usize>,
}

impl<'a> Reporter<'a> {
    /// A reporter for the flags of a command.
    pub fn new(cx: &'a Context, dry_run: DryRun) -> Result<Self> {
        Ok(Self { cx, format: Format::of(&cx.flags)?, dry_run, collected: RefCell::default(), documents: Cell::new(0) })
    }

    /// Says `kind.group/name done`, or prints the object.
    pub fn say(&self, info: &Info, object: &Value, done: &str) {
        let name = object["metadata"]["name"].as_str().filter(|n| !n.is_empty()).unwrap_or(&info.name);
        let display = info.resource.object_name(name);
        if self.format.is_human() {
            out(&format!("{display} {done}{}\n", self.dry_run.suffix()));
        } else {
            let object = without_managed_fields(object.clone(), &self.cx.flags);
            // YAML documents after the first need a separator.
            let several = self.documents.replace(self.documents.get() + 1) > 0;
            if several && matches!(self.format, Format::Yaml) {
                out("---\n");
            }
            out(&self.format.object(&object, &display));
        }
    }

    /// Keeps an object for one list at the end; sentences and names are said at once.
    pub fn collect(&self, info: &Info, object: &Value, done: &str) {
        if self.format.is_human() || matches!(self.format, Format::Name) {
            self.say(info, object, done);
        } else {
            self.collected.borrow_mut().push(without_managed_fields(object.clone(), &self.cx.flags));
        }
    }

    /// Prints what was collected: one object as itself, several as a list.
    pub fn finish(&self) {
        let mut collected = self.collected.borrow_mut();
        match collected.len() {
            0 => {}
            1 => out(&self.format.object(&collected.remove(0), "")),
            _ => {
                let items: Vec<Value> = collected.drain(..).collect();
                let list =
                    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items});
                out(&self.format.object(&list, ""));
            }
        }
    }
}

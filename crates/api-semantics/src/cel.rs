//! What expressions may refer to, place by place: admission policies, match conditions, selectors of devices. Rules of custom
//! resources are in [`crate::structural`].

use std::collections::BTreeMap;

use kube_cel::{Environment, Expression, ObjectType, Type, json_patch_type, object_type};

/// What is optional in the environment of an admission expression.
#[derive(Clone, Copy, Debug, Default)]
pub struct Admission {
    /// Whether the policy has parameters.
    pub params: bool,
    pub authorizer: bool,
    /// Whether it makes mutations.
    pub mutates: bool,
}

impl Admission {
    /// The environment, without `variables`.
    pub fn environment(self) -> Environment {
        let mut environment = Environment::default()
            .variable("object", Type::Dyn)
            .variable("oldObject", Type::Dyn)
            .variable("request", request())
            .variable("namespaceObject", namespace());
        if self.params {
            environment = environment.variable("params", Type::Dyn);
        }
        if self.authorizer {
            environment = environment
                .variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer", Vec::new()))
                .variable(
                    "authorizer.requestResource",
                    Type::Opaque("kubernetes.authorization.ResourceCheck", Vec::new()),
                );
        }
        if self.mutates { environment.constructors() } else { environment }
    }
}

/// The environment with the variables of a policy that are known so far.
pub fn with_variables(environment: Environment, known: &BTreeMap<String, Type>) -> Environment {
    environment.variable("variables", Type::Object(ObjectType::new("kubernetes.variables", known.clone())))
}

/// What an expression may result in.
#[derive(Clone, Debug)]
pub enum Results {
    Any,
    OneOf(Vec<Type>),
}

impl Results {
    pub fn truth() -> Self {
        Results::OneOf(vec![Type::Bool])
    }

    pub fn text() -> Self {
        Results::OneOf(vec![Type::String])
    }

    pub fn text_or_null() -> Self {
        Results::OneOf(vec![Type::String, Type::Null])
    }

    /// An apply configuration.
    pub fn object() -> Self {
        Results::OneOf(vec![Type::Object(object_type("Object"))])
    }

    /// A list of patches.
    pub fn patches() -> Self {
        Results::OneOf(vec![Type::list(json_patch_type())])
    }
}

/// Compiles an expression of a policy.
///
/// # Errors
/// In upstream's words.
pub fn compile(source: &str, environment: &Environment, results: &Results) -> Result<Expression, String> {
    let expression = Expression::compile(source, environment).map_err(|e| format!("compilation failed: {e}"))?;
    let Results::OneOf(types) = results else { return Ok(expression) };
    if types.contains(expression.ty()) {
        return Ok(expression);
    }
    let got = type_name(expression.ty());
    Err(match types.as_slice() {
        [one] => format!("must evaluate to {} but got {got}", type_name(one)),
        many => {
            let names: Vec<String> = many.iter().map(type_name).collect();
            format!("must evaluate to one of [{}] but got {got}", names.join(" "))
        }
    })
}

/// The name of a type of values, where messages name results.
fn type_name(of: &Type) -> String {
    if *of == Type::Null { "null_type".to_owned() } else { of.to_string() }
}

/// The environment of selectors of devices.
pub fn device() -> Environment {
    let quantity = Type::Opaque("kubernetes.Quantity", Vec::new());
    let by_domain = |value: Type| Type::map(Type::String, Type::map(Type::String, value));
    let device = Type::object(
        "kubernetes.DRADevice",
        [
            ("driver", Type::String),
            ("attributes", by_domain(Type::Dyn)),
            ("capacity", by_domain(quantity)),
            ("allowMultipleAllocations", Type::Bool),
        ],
    );
    Environment::default().variable("device", device)
}

/// `request`: what is asked for.
fn request() -> Type {
    let kind = Type::object(
        "kubernetes.GroupVersionKind",
        [("group", Type::String), ("version", Type::String), ("kind", Type::String)],
    );
    let resource = Type::object(
        "kubernetes.GroupVersionResource",
        [("group", Type::String), ("version", Type::String), ("resource", Type::String)],
    );
    let texts = || Type::list(Type::String);
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    );
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// `namespaceObject`: what of the namespace may be looked at.
fn namespace() -> Type {
    let texts = || Type::map(Type::String, Type::String);
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        [
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", [("finalizers", Type::list(Type::String))]);
    let status =
        Type::object("kubernetes.NamespaceStatus", [("conditions", Type::list(condition)), ("phase", Type::String)]);
    Type::object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
}

/// A field's name as an identifier of CEL; none for names that can't be one.
pub fn field_name(name: &str) -> Option<String> {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let escaped = name
        .replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__");
    let good = escaped.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && escaped.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    good.then_some(escaped)
}

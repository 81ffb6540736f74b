//! Role-based access control: a request is allowed if a rule of a role that is bound to its user says so.

use std::{collections::BTreeMap, sync::Arc};

use apiserver::{
    authz::{Attributes, Authorizer, Decision, Rules as UserRules},
    user::UserInfo,
};
use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use parking_lot::RwLock;

use super::rules;
use crate::auth::follow::{Change, Key};

/// Roles and bindings as last seen.
#[derive(Default)]
pub(crate) struct Rbac(RwLock<State>);

#[derive(Default)]
struct State {
    cluster_roles: BTreeMap<Key, Rules>,
    cluster_bindings: BTreeMap<Key, Binding>,
    roles: BTreeMap<Key, Rules>,
    bindings: BTreeMap<Key, Binding>,
}

type Rules = Arc<[PolicyRule]>;

struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Where a rule comes from, as the audit log tells.
struct Source<'a> {
    kind: &'static str,
    name: &'a str,
    namespace: &'a str,
    binding: &'a Binding,
    subject: &'a Subject,
}

// === impl Rbac ===

impl Rbac {
    pub(crate) fn cluster_role(&self, change: Change<ClusterRole>) {
        change.apply(&mut self.0.write().cluster_roles, |role| role.rules.unwrap_or_default().into());
    }

    pub(crate) fn role(&self, change: Change<Role>) {
        change.apply(&mut self.0.write().roles, |role| role.rules.unwrap_or_default().into());
    }

    pub(crate) fn cluster_role_binding(&self, change: Change<ClusterRoleBinding>) {
        change.apply(&mut self.0.write().cluster_bindings, |it| Binding {
            role: it.role_ref,
            subjects: it.subjects.unwrap_or_default(),
        });
    }

    pub(crate) fn role_binding(&self, change: Change<RoleBinding>) {
        change.apply(&mut self.0.write().bindings, |it| Binding {
            role: it.role_ref,
            subjects: it.subjects.unwrap_or_default(),
        });
    }
}

// === impl State ===

impl State {
    fn rules(&self, role: &RoleRef, namespace: &str) -> Option<&Rules> {
        match role.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(&(String::new(), role.name.clone())),
            _ => self.roles.get(&(namespace.to_owned(), role.name.clone())),
        }
    }

    /// Every rule that holds for `user` in `namespace` ("" for what is not in one) until `visit` returns true. Bindings
    /// to roles that do not exist go to `missing`.
    fn visit<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &'a str,
        mut visit: impl FnMut(&Source<'a>, &PolicyRule) -> bool,
        mut missing: impl FnMut(&RoleRef),
    ) {
        let cluster = self.cluster_bindings.iter().map(|(key, binding)| ("ClusterRoleBinding", key, binding));
        let local = self.bindings.range((namespace.to_owned(), String::new())..);
        let local = local.take_while(|((of, _), _)| of == namespace);
        let local = local.map(|(key, binding)| ("RoleBinding", key, binding));
        for (kind, (_, name), binding) in cluster.chain(local) {
            let Some(subject) = binding.subjects.iter().find(|subject| is_subject(user, subject, namespace)) else {
                continue;
            };
            let Some(rules) = self.rules(&binding.role, namespace) else {
                missing(&binding.role);
                continue;
            };
            let source = Source { kind, name, namespace, binding, subject };
            if rules.iter().any(|rule| visit(&source, rule)) {
                return;
            }
        }
    }
}

/// Whether a binding to `subject` (in a RoleBinding of `namespace`) is one to `user`.
fn is_subject(user: &UserInfo, subject: &Subject, namespace: &str) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == user.name,
        "Group" => user.in_group(&subject.name),
        "ServiceAccount" => {
            let of = subject.namespace.as_deref().filter(|of| !of.is_empty()).unwrap_or(namespace);
            let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            !of.is_empty() && account == Some((of, subject.name.as_str()))
        }
        _ => false,
    }
}

impl Source<'_> {
    fn allowed(&self) -> String {
        let Self { kind, name, namespace, binding, subject } = self;
        let place = if *kind == "RoleBinding" { format!("/{namespace}") } else { String::new() };
        let who = match &subject.namespace {
            Some(of) if subject.kind == "ServiceAccount" => format!("{}/{of}", subject.name),
            _ => subject.name.clone(),
        };
        let (role, role_name) = (&binding.role.kind, &binding.role.name);
        let subject = &subject.kind;
        format!("RBAC: allowed by {kind} \"{name}{place}\" of {role} \"{role_name}\" to {subject} \"{who}\"")
    }
}

/// The `RBAC` authorization mode.
pub(crate) struct RbacAuthorizer(pub Arc<Rbac>);

#[async_trait]
impl Authorizer for RbacAuthorizer {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let state = self.0.0.read();
        let (mut allowed, mut missing) = (None, Vec::new());
        state.visit(
            &attributes.user,
            &attributes.namespace,
            |source, rule| {
                let allows = rules::allows(rule, attributes);
                if allows {
                    allowed = Some(source.allowed());
                }
                allows
            },
            |role| missing.push(not_found(role)),
        );
        match allowed {
            Some(reason) => Decision::allow(reason),
            None if missing.is_empty() => Decision::no_opinion(""),
            None if missing.len() == 1 => Decision::no_opinion(format!("RBAC: {}", missing[0])),
            None => Decision::no_opinion(format!("RBAC: [{}]", missing.join(", "))),
        }
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> UserRules {
        let mut found = UserRules::default();
        let show = |_: &Source<'_>, rule: &PolicyRule| {
            rules::show(rule, &mut found);
            false
        };
        let mut incomplete = false;
        self.0.0.read().visit(user, namespace, show, |_| incomplete = true);
        UserRules { incomplete, ..found }
    }
}

fn not_found(role: &RoleRef) -> String {
    let kind = role.kind.to_lowercase();
    format!("{kind}.rbac.authorization.k8s.io \"{}\" not found", role.name)
}

#[cfg(test)]
mod tests {
    use apiserver::authz::Verdict;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;
    use crate::auth::policy::Policy;

    fn with_policy() -> RbacAuthorizer {
        let (rbac, policy) = (Rbac::default(), Policy::load());
        policy.cluster_roles.into_iter().for_each(|role| rbac.cluster_role(Change::Put(role)));
        policy.cluster_role_bindings.into_iter().for_each(|it| rbac.cluster_role_binding(Change::Put(it)));
        policy.roles.into_iter().for_each(|role| rbac.role(Change::Put(role)));
        policy.role_bindings.into_iter().for_each(|it| rbac.role_binding(Change::Put(it)));
        RbacAuthorizer(Arc::new(rbac))
    }

    fn request(user: &str, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user: UserInfo::new(user, &["system:authenticated"]),
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    #[tokio::test]
    async fn the_default_policy() {
        let rbac = with_policy();
        let (scheduler, kcm) = ("system:kube-scheduler", "system:kube-controller-manager");
        let job = "system:serviceaccount:kube-system:job-controller";
        for (user, verb, group, resource, namespace, name, allowed) in [
            (scheduler, "create", "", "pods/binding", "a", "p", true),
            (scheduler, "create", "", "pods", "a", "", false),
            (scheduler, "update", "coordination.k8s.io", "leases", "kube-system", "kube-scheduler", true),
            (scheduler, "update", "coordination.k8s.io", "leases", "kube-system", "other", false),
            (scheduler, "get", "", "configmaps", "kube-system", "extension-apiserver-authentication", true),
            (scheduler, "get", "", "configmaps", "default", "extension-apiserver-authentication", false),
            (kcm, "list", "example.com", "things", "", "", true),
            (kcm, "delete", "", "pods", "a", "p", false),
            (job, "create", "", "pods", "a", "", true),
            (job, "create", "", "secrets", "a", "", false),
            ("bob", "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", true),
            ("bob", "list", "", "pods", "a", "", false),
        ] {
            let decision = rbac.authorize(&request(user, verb, group, resource, namespace, name)).await;
            assert_eq!(decision.verdict == Verdict::Allow, allowed, "{user} {verb} {resource} {name}: {decision:?}");
        }
    }

    #[tokio::test]
    async fn reasons_name_the_binding_and_missing_roles() {
        let rbac = with_policy();
        let metadata = ObjectMeta { name: Some("b".into()), namespace: Some("ns".into()), ..ObjectMeta::default() };
        let subject = Subject { kind: "User".into(), name: "ann".into(), ..Subject::default() };
        let mut binding = RoleBinding {
            metadata,
            role_ref: RoleRef { kind: "ClusterRole".into(), name: "system:kube-dns".into(), ..RoleRef::default() },
            subjects: Some(vec![subject]),
        };
        rbac.0.role_binding(Change::Put(binding.clone()));
        let asked = request("ann", "list", "", "services", "ns", "");
        assert_eq!(
            rbac.authorize(&asked).await.reason,
            "RBAC: allowed by RoleBinding \"b/ns\" of ClusterRole \"system:kube-dns\" to User \"ann\""
        );
        assert_eq!(rbac.authorize(&Attributes { namespace: "other".into(), ..asked.clone() }).await.reason, "");
        binding.role_ref.name = "gone".into();
        rbac.0.role_binding(Change::Put(binding.clone()));
        let reason = rbac.authorize(&asked).await.reason;
        assert_eq!(reason, "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found");
        rbac.0.role_binding(Change::Delete(binding));
        assert_eq!(rbac.authorize(&asked).await, Decision::no_opinion(""));
    }
}

//! Identities and permissions in a running cluster.

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod, Secret, ServiceAccount},
    rbac::v1::{ClusterRole, Role, RoleBinding},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use testkit::{
    builders::{deployment, pod},
    eventually,
};

use crate::{MINUTE, in_default, on_cluster};

/// The message of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> String {
    match result.unwrap_err() {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("{other}"),
    }
}

#[test]
fn components_act_within_their_roles_and_others_are_told_no() {
    on_cluster(1, 0, async |cluster| {
        let admin = cluster.admin();
        let roles: Api<ClusterRole> = Api::all(admin.clone());
        let edit = || async {
            let role = roles.get_opt("system:kube-scheduler").await.unwrap();
            role.map(drop).ok_or("no role".into())
        };
        eventually(MINUTE, "the default policy", edit).await;

        let bob = cluster.client("bob", &[]);
        let list = in_default::<Pod>(&bob).list(&ListParams::default()).await;
        assert_eq!(
            refusal(list),
            "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        );
        let nobody = in_default::<Pod>(&cluster.anonymous()).list(&ListParams::default()).await;
        assert!(refusal(nobody).contains("User \"system:anonymous\" cannot list"));

        let node = cluster.client("system:node:n1", &["system:nodes"]);
        let all = Api::<Node>::all(node.clone()).list(&ListParams::default()).await;
        assert!(refusal(all).ends_with("node 'n1' cannot read all nodes, only its own Node object"));
        let secret = in_default::<Secret>(&node).get("s").await;
        assert!(refusal(secret).ends_with("no relationship found between node 'n1' and this object"));
    });
}

#[test]
fn nobody_gives_away_rights_that_they_do_not_hold() {
    on_cluster(3, 0, async |cluster| {
        let admin = cluster.admin();
        let grant = |name: &str, kind: &str, role: &str, user: &str| -> RoleBinding {
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            }))
            .unwrap()
        };
        let role = |name: &str, resource: &str| -> Role {
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "default"},
                "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}],
            }))
            .unwrap()
        };
        let params = PostParams::default();
        // The aggregated rules of role `admin` come from a controller.
        let own: Role = serde_json::from_value(json!({
            "metadata": {"name": "own", "namespace": "default"},
            "rules": [
                {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
            ],
        }))
        .unwrap();
        in_default(&admin).create(&params, &own).await.unwrap();
        in_default(&admin).create(&params, &grant("own", "Role", "own", "ann")).await.unwrap();
        let ann = cluster.client("ann", &[]);
        let roles = in_default::<Role>(&ann);
        let bindings = in_default::<RoleBinding>(&ann);
        let made = || async { roles.create(&params, &role("less", "pods")).await.map_err(|error| error.to_string()) };
        eventually(MINUTE, "a role with rights that ann holds", made).await;
        bindings.create(&params, &grant("less", "Role", "less", "bob")).await.unwrap();
        let more = refusal(roles.create(&params, &role("more", "secrets")).await);
        assert!(
            more.contains("is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"]"),
            "{more}"
        );
        let root = refusal(bindings.create(&params, &grant("root", "ClusterRole", "cluster-admin", "ann")).await);
        assert!(root.contains("is attempting to grant RBAC permissions not currently held"), "{root}");
    });
}

#[test]
fn controllers_work_with_their_service_accounts() {
    on_cluster(2, 0, async |cluster| {
        let admin = cluster.admin();
        let accounts = in_default::<ServiceAccount>(&admin);
        let default = || async {
            accounts.get_opt("default").await.unwrap().map(drop).ok_or("no default service account".into())
        };
        eventually(MINUTE, "the namespace's service account", default).await;
        in_default(&admin).create(&PostParams::default(), &deployment("web").replicas(3).build()).await.unwrap();
        let three = || async {
            let found =
                in_default::<Pod>(&admin).list(&ListParams::default().labels("app=web")).await.unwrap().items.len();
            if found == 3 { Ok(()) } else { Err(format!("{found} pods")) }
        };
        eventually(MINUTE, "three pods", three).await;
        let lone = in_default::<Pod>(&admin).create(&PostParams::default(), &pod("lone").build()).await.unwrap();
        let account = lone.spec.unwrap().service_account_name;
        assert_eq!(account.as_deref(), Some("default"), "admission gives every pod an account");
    });
}

//! Who asks, and what they may see and do.

use std::sync::Arc;

use crate::config::Roles;
use crate::model::Matcher;

/// What the bearer of a request may do. Where nobody is asked who they are, everything.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// The name of the user or the token; empty where nobody is asked.
    pub(super) name: Arc<str>,
    roles: Roles,
    /// What every series that is shown satisfies; empty: no bound.
    pub(super) scope: Arc<[Matcher]>,
}

/// What a path asks of those who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// To read series; a scope is kept to.
    Read,
    /// To read what a scope cannot be kept to.
    ReadAll,
    /// To push.
    Write,
    /// To change what is stored or how the server runs.
    Admin,
}

impl Access {
    /// Everything.
    pub(super) fn full(name: &str) -> Self {
        let roles = Roles { read: true, write: true, admin: true };
        Self { name: name.into(), roles, scope: Arc::default() }
    }

    /// What a token grants.
    pub(super) fn of_token(name: &str, roles: Roles, scope: &[Matcher]) -> Self {
        Self { name: name.into(), roles, scope: scope.into() }
    }

    /// Why a path with this need is not for them.
    pub(super) fn check(&self, need: Need) -> Result<(), String> {
        let Roles { read, write, admin } = self.roles;
        let (granted, role) = match need {
            Need::ReadAll if read && !admin && !self.scope.is_empty() => {
                let name = &self.name;
                return Err(format!("token {name:?} has a scope, which this path cannot keep to"));
            }
            Need::Read | Need::ReadAll => (read, "read"),
            Need::Write => (write, "write"),
            Need::Admin => (false, "admin"),
        };
        if granted || admin {
            return Ok(());
        }
        Err(format!("token {:?} does not have the role {role}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MatchOp;

    #[test]
    fn roles_and_scopes_bound_what_is_granted() {
        let needs = [Need::Read, Need::ReadAll, Need::Write, Need::Admin];
        let granted = |access: &Access| needs.map(|need| access.check(need).is_ok());
        let token = |read, write, admin, scope: &[Matcher]| {
            Access::of_token("t", Roles { read, write, admin }, scope)
        };
        let scope = [Matcher::new("team", MatchOp::Equal, "a").unwrap()];
        assert_eq!(granted(&Access::full("")), [true; 4]);
        assert_eq!(granted(&token(true, false, false, &[])), [true, true, false, false]);
        assert_eq!(granted(&token(true, false, false, &scope)), [true, false, false, false]);
        assert_eq!(granted(&token(false, true, false, &[])), [false, false, true, false]);
        assert_eq!(granted(&token(false, false, true, &[])), [true; 4]);
        let why = token(true, false, false, &[]).check(Need::Write).unwrap_err();
        assert_eq!(why, "token \"t\" does not have the role write");
    }
}

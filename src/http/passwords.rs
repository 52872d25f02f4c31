//! Passwords against their bcrypt hashes, and what came of it, remembered for a while.
//!
//! A comparison costs tens of milliseconds by design, so outcomes are kept: under a keyed hash of
//! (user, hash, password), each with its length before it, so that no two triples share an entry
//! and none can be made from a stolen file. What was right is kept apart from what was wrong, so
//! that guesses push out no one who knows theirs. One comparison runs at a time, and the queue for
//! it is bounded, in all and for each address. An unknown user costs what a known one does.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use crate::config::Secret;

/// Right ones remembered.
const RIGHT_MAX: usize = 200;
/// Wrong ones remembered.
const WRONG_MAX: usize = 1000;
/// Comparisons that wait, in all.
const WAITING_MAX: usize = 64;
/// Comparisons that wait for one address.
const WAITING_MAX_PER_PEER: usize = 12;

/// Too many comparisons wait already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

type Digest = [u8; 32];

#[derive(Debug, Default)]
struct Known {
    right: HashSet<Digest>,
    wrong: HashSet<Digest>,
}

/// Compares and remembers.
#[derive(Debug)]
pub(super) struct Passwords {
    key: hmac::Key,
    known: Mutex<Known>,
    turn: Semaphore,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl Passwords {
    /// Remembers nothing yet. `None`: the system gives no random numbers.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self {
            key,
            known: Mutex::default(),
            turn: Semaphore::new(1),
            waiting: Mutex::default(),
        })
    }

    fn digest(&self, parts: [&[u8]; 3]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().try_into().expect("BUG: SHA-256 has 32 bytes")
    }

    fn remembered(&self, digest: &Digest) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_right = known.right.contains(digest);
        (is_right || known.wrong.contains(digest)).then_some(is_right)
    }

    fn remember(&self, digest: Digest, is_right: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { right, wrong } = &mut *known;
        let (set, max) = if is_right { (right, RIGHT_MAX) } else { (wrong, WRONG_MAX) };
        if set.len() >= max {
            set.clear();
        }
        set.insert(digest);
    }

    /// Whether `password` is that of `user`, for a request from `peer`.
    pub(super) async fn is_right(
        &self,
        users: &[(String, Secret)],
        peer: IpAddr,
        user: &str,
        password: &[u8],
    ) -> Result<bool, Busy> {
        let found = users.iter().find(|(name, _)| name == user).map(|(_, hash)| hash);
        let hash = match (found, users.len()) {
            (Some(hash), _) => hash.clone(),
            (None, 0) => return Ok(false),
            // Some user's hash, always the same for the same name: its cost is a likely one.
            (None, count) => {
                let sum = self.digest([b"unknown", user.as_bytes(), b""]);
                users[usize::from(u16::from_le_bytes([sum[0], sum[1]])) % count].1.clone()
            }
        };
        let digest = self.digest([user.as_bytes(), hash.reveal().as_bytes(), password]);
        if let Some(is_right) = self.remembered(&digest) {
            return Ok(is_right && found.is_some());
        }
        let _waiting = self.wait(peer)?;
        let _turn = self.turn.acquire().await;
        // Whoever was before may have asked the same.
        if let Some(is_right) = self.remembered(&digest) {
            return Ok(is_right && found.is_some());
        }
        let password = password.to_vec();
        let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, hash.reveal()));
        let matches = matches!(compared.await, Ok(Ok(true)));
        let is_right = matches && found.is_some();
        self.remember(digest, is_right);
        Ok(is_right)
    }

    fn wait(&self, peer: IpAddr) -> Result<Waiting<'_>, Busy> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let own = waiting.entry(peer).or_default();
        if all >= WAITING_MAX || *own >= WAITING_MAX_PER_PEER {
            return Err(Busy);
        }
        *own += 1;
        drop(waiting);
        Ok(Waiting { passwords: self, peer })
    }
}

/// A place in the queue, given back when dropped.
struct Waiting<'a> {
    passwords: &'a Passwords,
    peer: IpAddr,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.passwords.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn users() -> Vec<(String, Secret)> {
        let hash = |password: &str| Secret::new(bcrypt::hash(password, 4).unwrap());
        vec![("alice".to_owned(), hash("a")), ("bob".to_owned(), hash("b"))]
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let (passwords, users) = (Passwords::new().unwrap(), users());
        // The second time each is remembered.
        for _ in 0..2 {
            for (user, password, expected) in [
                ("alice", "a", true),
                ("bob", "b", true),
                ("alice", "b", false),
                ("alice", "", false),
                ("carol", "a", false),
                ("carol", "b", false),
                ("", "a", false),
            ] {
                let asked = passwords.is_right(&users, PEER, user, password.as_bytes()).await;
                assert_eq!(asked, Ok(expected), "{user} {password}");
            }
        }
        assert_eq!(passwords.is_right(&[], PEER, "alice", b"a").await, Ok(false));
        let mut others = users.clone();
        others[0].1 = Secret::new(bcrypt::hash("new", 4).unwrap());
        let asked = passwords.is_right(&others, PEER, "alice", b"a").await;
        assert_eq!(asked, Ok(false), "another hash is another entry");
    }

    #[tokio::test]
    async fn wrong_ones_push_out_no_right_one_and_the_queue_is_bounded() {
        let (passwords, users) = (Passwords::new().unwrap(), users());
        assert_eq!(passwords.is_right(&users, PEER, "alice", b"a").await, Ok(true));
        for i in 0..2 * WRONG_MAX {
            passwords.remember(passwords.digest([b"x", b"y", &i.to_le_bytes()]), false);
        }
        let digest = passwords.digest([b"alice", users[0].1.reveal().as_bytes(), b"a"]);
        assert_eq!(passwords.remembered(&digest), Some(true));
        let held: Vec<_> = (0..WAITING_MAX_PER_PEER).map(|_| passwords.wait(PEER)).collect();
        assert!(held.iter().all(Result::is_ok) && passwords.wait(PEER).is_err());
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        assert!(passwords.wait(other).is_ok(), "others wait in a queue of their own");
        drop(held);
        assert!(passwords.wait(PEER).is_ok());
        assert!(passwords.waiting.lock().unwrap().is_empty());
    }
}

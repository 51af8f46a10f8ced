//! Stories in which people are invited and come beside everything else, over weeks: whoever asks, an invitation lets one
//! person in, once, while it is good, as who it says.

use super::Story;
use crate::calls::DAY;
use crate::world::{id, person};
use consortium::{
    Actor, Command, Digest, Event, Guest, Holder, Identity, Invitation, InvitationCommand, InvitationEvent,
    PeopleCommand, PeopleEvent, PersonId, Role, SignIn, Standing, Time,
};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 80;
const STEPS: usize = 300;

#[test]
fn whatever_is_asked_of_invitations_the_rules_hold() {
    let mut seen = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut story = Story::new(seed);
        let mut guests = Guests {
            read: story.world.log.len(),
            ..Guests::default()
        };
        for _ in 0..STEPS {
            let (actor, command) = match story.dice.below(8) {
                0 => story.honest(),
                1 => (person("director"), story.of_people()),
                _ => story.of_invitations(),
            };
            story.ask(actor, command.clone());
            let came = guests.follow(&story);
            if let Command::Invitation(InvitationCommand::Accept { code, .. }) = command {
                let why = guests.why_not(&code, story.world.now);
                *seen
                    .entry(why.filter(|_| !came).unwrap_or("accept").to_owned())
                    .or_insert(0) += 1;
            }
            if story.dice.one_in(8) {
                story.world.now = story.world.now.plus(story.dice.below(9) * DAY);
            }
        }
        story.end(&mut seen);
    }
    for what in [
        "Sent",
        "Withdrawn",
        "Accepted",
        "IdentityBound",
        "expired",
        "used",
    ] {
        let times = seen.get(what).copied().unwrap_or(0);
        assert!(times >= 10, "{what} was seen {times} times only: {seen:?}");
    }
}

/// What the log says of invitations, told without the rules.
#[derive(Default)]
struct Guests {
    open: BTreeMap<Digest, Invitation>,
    used: BTreeSet<Digest>,
    /// How much of the log was read.
    read: usize,
}

impl Guests {
    /// Whether somebody came by what was asked last.
    fn follow(&mut self, story: &Story) -> bool {
        let (state, log) = (&story.world.state, &story.world.log);
        let mut came = false;
        for (i, (event, at)) in log.iter().enumerate().skip(self.read) {
            let Event::Invitation(event) = event else { continue };
            match event {
                InvitationEvent::Sent { code, invitation } => {
                    self.open.retain(|_, it| it.email != invitation.email);
                    self.open.insert(*code, invitation.clone());
                }
                InvitationEvent::Withdrawn { code } => {
                    assert!(self.open.remove(code).is_some(), "{code} was good for nothing");
                }
                InvitationEvent::Accepted { code, person } => {
                    let invitation = self.open.remove(code).expect("an invitation works once");
                    assert!(*at < invitation.expires, "{person} came too late");
                    self.used.insert(*code);
                    let made: Vec<&Event> = log[i + 1..].iter().map(|(event, _)| event).collect();
                    check_guest(&invitation.guest, person, &made);
                    came = true;
                }
            }
        }
        self.read = log.len();
        assert!(self.open == state.invitations, "who is invited");
        for whose in state.identities.values() {
            assert!(
                state.people.contains_key(whose),
                "{whose} signs in and isn't there"
            );
        }
        came
    }

    /// Why nobody comes by the code, if that is plain.
    fn why_not(&self, code: &Digest, now: Time) -> Option<&'static str> {
        match self.open.get(code) {
            Some(invitation) => (invitation.expires <= now).then_some("expired"),
            None => self.used.contains(code).then_some("used"),
        }
    }
}

/// Whoever comes is who the invitation says, and can sign in.
fn check_guest(guest: &Guest, person: &PersonId, made: &[&Event]) {
    let added = made.iter().find_map(|event| match event {
        Event::PersonAdded(added) => Some(added),
        _ => None,
    });
    match guest {
        Guest::Known(known) => assert_eq!((known, added), (person, None)),
        Guest::New {
            organisation,
            roles,
            projects,
            ..
        } => {
            let added = added.expect("somebody new is added");
            assert_eq!(
                (&added.id, &added.organisation, &added.roles),
                (person, organisation, roles)
            );
            let enrolled: BTreeSet<_> = made
                .iter()
                .filter_map(|event| match event {
                    Event::People(PeopleEvent::Enrolled { project, join, .. }) if join.contains(person) => {
                        Some(project)
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(enrolled, projects.iter().collect());
        }
    }
    let signs_in = made.iter().any(|event| match event {
        Event::People(PeopleEvent::IdentityBound { person: bound, .. }) => bound == person,
        Event::CredentialIssued { credential, .. } => credential.holder == Holder::Person(person.clone()),
        _ => false,
    });
    assert!(signs_in, "{person} can't sign in");
}

impl Story {
    fn of_people(&mut self) -> Command {
        let person = id(self
            .dice
            .pick(&["director", "minji", "anna", "guest-1", "guest-2"]));
        if self.dice.one_in(3) {
            return Command::SetStanding {
                organisation: id(self.dice.pick(&["gaon", "rhein"])),
                standing: self
                    .dice
                    .pick(&[Standing::Active, Standing::Active, Standing::Suspended]),
                ground: "a letter".into(),
            };
        }
        let standing = self
            .dice
            .pick(&[Standing::Active, Standing::Active, Standing::Suspended]);
        let ground = "a letter".into();
        Command::People(PeopleCommand::SetStanding {
            person,
            standing,
            ground,
        })
    }

    /// Something of invitations: mostly by whom it concerns, sometimes by anyone.
    fn of_invitations(&mut self) -> (Actor, Command) {
        let open: Vec<Digest> = self.world.state.invitations.keys().copied().collect();
        let code = match open.is_empty() || self.dice.one_in(3) {
            true => Digest::of(format!("code {}", self.dice.below(30)).as_bytes()),
            false => self.dice.pick(&open),
        };
        let (actor, command) = match self.dice.below(8) {
            0..=2 => (person("director"), self.invite(code)),
            3 => (person("director"), InvitationCommand::Withdraw { code }),
            _ => (Actor::Hub, self.accept(code)),
        };
        let actor = match self.dice.one_in(12) {
            true => person(self.dice.pick(&["minji", "inspector", "guest-1", "nobody"])),
            false => actor,
        };
        (actor, Command::Invitation(command))
    }

    fn invite(&mut self, code: Digest) -> InvitationCommand {
        let guest = match self.dice.one_in(4) {
            true => Guest::Known(id(self.dice.pick(&["minji", "anna", "guest-1", "nobody"]))),
            false => Guest::New {
                organisation: id(self.dice.pick(&["gaon", "gaon", "rhein", "nowhere"])),
                roles: self.dice.one_in(3).then_some(Role::Auditor).into_iter().collect(),
                projects: self.dice.one_in(2).then(|| id("reviews")).into_iter().collect(),
                name: self.dice.one_in(2).then(|| self.guest()),
            },
        };
        let email = match self.dice.one_in(20) {
            true => "nobody".to_owned(),
            false => format!("guest-{}@gaon.example", self.dice.below(6)),
        };
        InvitationCommand::Send { code, email, guest }
    }

    fn accept(&mut self, code: Digest) -> InvitationCommand {
        let name = self.dice.one_in(2).then(|| self.guest());
        let n = self.dice.below(40);
        let sign_in = match self.dice.one_in(2) {
            true => SignIn::Identity(id::<Identity>(&format!("https://id.example {n}"))),
            false => SignIn::Token {
                token: Digest::of(format!("token {n}").as_bytes()),
                expires: self.world.now.plus(30 * DAY),
            },
        };
        InvitationCommand::Accept { code, name, sign_in }
    }

    fn guest(&mut self) -> PersonId {
        id(&format!("guest-{}", self.dice.below(60)))
    }
}

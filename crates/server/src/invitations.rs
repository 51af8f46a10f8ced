//! Who is invited, and who comes by it without a provider: with a first token.

use crate::extract::{Answer, Ask, At, Bearer, Body, Json, Stranger};
use crate::hub::{Shared, digest, secret};
use crate::openapi::Routes;
use crate::part::Part;
use api::{Acceptance, Done, InvitationView, Invite, Invited, Problem, Welcome};
use axum::extract::State;
use consortium::policy::Resource;
use consortium::{Action, Actor, Command, Digest, InvitationCommand, PersonId, Request, SignIn};
use std::sync::Arc;

/// For how long the first token is good, milliseconds: 90 days, as `khub token new` makes them.
const FIRST_TOKEN_MILLIS: u64 = 90 * 24 * 3_600 * 1_000;

pub(crate) fn routes() -> Routes {
    Routes::about("sign-in")
        .get("/invitations", "Who is invited and hasn't come yet", list)
        .post(
            "/invitations",
            "Invite somebody: the code to come in with is told once",
            invite,
        )
        .delete(
            "/invitations/{digest}",
            "Take an invitation back, by its code's digest",
            withdraw,
        )
        .post(
            "/invitations/accept",
            "Come in by an invitation, and get a first token",
            accept,
        )
}

async fn list(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Ask(part): Ask<Part<Digest>>,
) -> Answer<Vec<InvitationView>> {
    let state = shared.read()?;
    state.permit(&bearer.actor, Action::Administer, &Resource::Consortium)?;
    let now = shared.now();
    let views = part.of(state.invitations.iter(), |(digest, _)| *digest);
    let views = views.map(|(digest, invitation)| InvitationView {
        digest: *digest,
        invitation: invitation.clone(),
        expired: invitation.expires <= now,
    });
    Ok(Json(views.collect()))
}

async fn invite(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    Body(invite): Body<Invite>,
) -> Answer<Invited> {
    let code = secret("invitation_")?;
    let known_by = digest(&code);
    let command = InvitationCommand::Send {
        code: known_by,
        email: invite.email,
        guest: invite.guest,
    };
    shared
        .ask(Request::new(bearer.actor, Command::Invitation(command)))
        .await?;
    let state = shared.read()?;
    let sent = state.invitations.get(&known_by);
    let gone = || Problem::new(409, "conflict", "the invitation was taken back at once");
    let expires = sent.ok_or_else(gone)?.expires;
    Ok(Json(Invited { code, expires }))
}

async fn withdraw(State(shared): State<Arc<Shared>>, bearer: Bearer, At(code): At<Digest>) -> Answer<Done> {
    let command = Command::Invitation(InvitationCommand::Withdraw { code });
    shared.carry_out(bearer.actor, None, command).await
}

async fn accept(
    State(shared): State<Arc<Shared>>,
    stranger: Stranger,
    Body(acceptance): Body<Acceptance>,
) -> Answer<Welcome> {
    if shared.provider.is_some() {
        let detail = "people sign in with a provider here, also the first time";
        let hint = format!("open {} and enter the invitation's code there", shared.public);
        return Err(Problem::new(409, "conflict", detail).hint(hint).into());
    }
    let token = secret("khub_")?;
    let sign_in = SignIn::Token {
        token: digest(&token),
        expires: shared.now().plus(FIRST_TOKEN_MILLIS),
    };
    let person = shared.welcome(&stranger, &acceptance, sign_in).await?;
    Ok(Json(Welcome { person, token }))
}

impl Shared {
    /// Lets in who has brought an invitation's code; who brings others is locked out in the end.
    pub(crate) async fn welcome(
        &self,
        stranger: &Stranger,
        acceptance: &Acceptance,
        sign_in: SignIn,
    ) -> Result<PersonId, Problem> {
        let code = digest(acceptance.code.trim());
        let guest = self.read()?.invitations.get(&code).map(|it| it.guest.clone());
        if guest.is_none() {
            self.lockout.note(stranger.address);
        }
        let accept = InvitationCommand::Accept {
            code,
            name: acceptance.name.clone(),
            sign_in,
        };
        self.ask(Request::new(Actor::Hub, Command::Invitation(accept)))
            .await?;
        let known = guest.and_then(|guest| guest.called(acceptance.name.as_ref()));
        known.ok_or_else(|| Problem::new(500, "internal", "somebody came in without a name"))
    }
}

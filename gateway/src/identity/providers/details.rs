//! Finding out more about a person whom a provider has identified.

use serde::Deserialize;

use super::{
    Endpoints, Kind, Profile, Provider, Refusal,
    built_in::{self, Urls},
    discovery::Discovery,
    profile::{Flag, Person},
    redeeming::Identified,
    secrets::is_same,
};

impl Provider {
    /// Returns what the provider knows about a person whom it has identified. It may have to be
    /// asked again, so this is for people whom nobody here knows.
    ///
    /// # Errors
    /// If the provider does not say, or what it says is not to be trusted.
    pub(crate) async fn profile(&self, identified: Identified) -> Result<Profile, Refusal> {
        let person = match &self.endpoints {
            Endpoints::Discovered(discovery) => self.complete(discovery, identified).await?,
            Endpoints::Fixed(urls) => self.with_address(urls, identified).await?,
        };
        let (firstname, lastname) = person.names();
        Ok(Profile {
            email: person.email(),
            is_proved: self.proves(&person),
            firstname,
            lastname,
        })
    }

    /// Returns what is known about a person after the user info was read, if that may say more. It
    /// must be about the same person.
    async fn complete(
        &self,
        discovery: &Discovery,
        identified: Identified,
    ) -> Result<Person, Refusal> {
        #[derive(Deserialize)]
        struct UserInfo {
            sub: String,
            #[serde(flatten)]
            person: Person,
        }
        let Identified {
            subject,
            person,
            tokens,
            deadline,
            ..
        } = identified;
        let metadata = discovery.metadata(&self.requests, deadline).await?;
        let Some(endpoint) = &metadata.userinfo_endpoint else {
            return Ok(person);
        };
        let may_be_unproved = self.is_authoritative && person.email_verified == Flag::Unknown;
        if person.email.is_some() && !may_be_unproved {
            return Ok(person);
        }
        let authorization = tokens.authorization()?;
        let info = self.requests.get(endpoint, Some(&authorization), deadline);
        let info: UserInfo = info.await?;
        if !is_same(&subject, &info.sub) {
            return Err(Refusal::Untrusted("the user info is about another person"));
        }
        Ok(person.completed(info.person))
    }

    async fn with_address(&self, urls: &Urls, identified: Identified) -> Result<Person, Refusal> {
        let Identified {
            person,
            tokens,
            deadline,
            ..
        } = identified;
        if self.kind == Kind::Facebook {
            return Ok(person);
        }
        let authorization = tokens.authorization()?;
        let address = built_in::github_address(urls, &self.requests, &authorization, deadline);
        let (email, email_verified) = address.await?;
        Ok(Person {
            email,
            email_verified,
            ..person
        })
    }

    /// Whether the provider's word proves the address of the person.
    fn proves(&self, person: &Person) -> bool {
        let Some(email) = person.email() else {
            return false;
        };
        let is_verified = person.email_verified == Flag::Yes;
        match self.kind {
            Kind::Google => is_verified && (email.domain() == "gmail.com" || person.hd.is_some()),
            Kind::GitHub => is_verified,
            Kind::Facebook => false,
            // A provider that says itself that an address is not verified is believed.
            Kind::Oidc => self.is_authoritative && person.email_verified != Flag::No,
        }
    }
}

// The console: who is here, and which page they are on.
import { html, render, useEffect, useErrorBoundary, useState } from "./vendor/preact.js";
import { Access } from "./access.js";
import { lost, whoami } from "./api.js";
import { Change, Deploy } from "./deploy.js";
import { Deployment } from "./deployment.js";
import { Deployments } from "./deployments.js";
import { Fleet } from "./fleet.js";
import { Help, useKeys } from "./keyboard.js";
import { leaving, place, to } from "./router.js";
import { session, signOut, signedIn } from "./session.js";
import { SignIn } from "./signin.js";
import { useCell } from "./state.js";
import { theme, toggle } from "./theme.js";
import { Icon, Mark, Notes, Question, arrive, say } from "./ui.js";
import { Usage } from "./usage.js";
import { Worker } from "./worker.js";

function page([first, id, more]) {
    const found = (title, at, view) => ({ title, at, view });
    if (!first) return found("Fleet", "fleet", html`<${Fleet} />`);
    if (first === "workers" && id) return found("Worker", "fleet", html`<${Worker} key=${id} id=${id} />`);
    if (first === "deploy") return found("Deploy a model", "deployments", html`<${Deploy} />`);
    if (first === "deployments" && id) {
        if (more === "change") return found("Change", "deployments", html`<${Change} key=${id} id=${id} />`);
        return found("Deployment", "deployments", html`<${Deployment} key=${id} id=${id} />`);
    }
    if (first === "deployments") return found("Deployments", "deployments", html`<${Deployments} />`);
    if (first === "usage") return found("Usage", "usage", html`<${Usage} />`);
    if (first === "access") return found("Access", "access", html`<${Access} />`);
    return found("Nothing here", "", html`<${Nowhere} />`);
}

const Nowhere = () =>
    html`<div class="empty"><h1 tabindex="-1">Nothing is here</h1><p><a href=${to()}>To the fleet</a></p></div>`;

function Page({ parts }) {
    const [error, reset] = useErrorBoundary();
    const address = parts.join("/");
    const left = useCell(leaving);
    useEffect(() => reset(), [address]);
    const { title, view } = page(parts);
    useEffect(() => {
        document.title = `${title} · Muster`;
        scrollTo(0, 0);
        arrive();
    }, [address, left]);
    if (left?.from === location.hash) return html`<p class="waiting" role="status">${left.text}</p>`;
    if (error) return html`
        <div class="empty">
            <h1 tabindex="-1">This page broke</h1>
            <p>${String(error.message)}</p>
            <button onClick=${reset}>Try again</button>
        </div>
    `;
    return view;
}

const NAV = {
    fleet: ["Fleet", []],
    deployments: ["Deployments", ["deployments"]],
    usage: ["Usage", ["usage"]],
    access: ["Access", ["access"]],
};

function Shell() {
    const parts = useCell(place);
    const { who } = useCell(session);
    const alone = useCell(lost);
    const [helping, setHelping] = useState(false);
    const { at } = page(parts);
    const dark = useCell(theme) === "dark";
    useKeys(() => setHelping(true));
    return html`
        <a class="skip" href="#content"
            onClick=${(event) => (event.preventDefault(), document.getElementById("content").focus())}>Skip to content</a>
        <header class="side">
            <a class="brand" href=${to()} aria-label="Muster"><${Mark} /><b>Muster</b></a>
            <nav aria-label="Pages">
                ${Object.entries(NAV).map(([name, [title, parts]]) => html`
                    <a key=${name} href=${to(...parts)} aria-current=${at === name ? "page" : null}>
                        <${Icon} name=${name} />
                        <span>${title}</span>
                    </a>
                `)}
            </nav>
            <div class="own">
                <p class="who-am-i"><b class="clip">${who.name}</b><small>${who.role}</small></p>
                <div class="own-buttons">
                    <button class="plain" onClick=${toggle} aria-label=${dark ? "Light" : "Dark"}
                        title=${dark ? "Light" : "Dark"}>
                        <${Icon} name=${dark ? "light" : "dark"} />
                    </button>
                    <button class="plain help-button" onClick=${() => setHelping(true)} aria-label="Keys" title="Keys">
                        <${Icon} name="help" />
                    </button>
                    <button class="plain" onClick=${() => signOut()} aria-label="Sign out" title="Sign out">
                        <${Icon} name="leave" />
                    </button>
                </div>
            </div>
        </header>
        <main id="content" tabindex="-1">
            ${alone && html`
                <p class="banner bad"
                    role="status">The control plane does not answer. What is shown is what it said last; it is asked again.</p>
            `}
            <${Page} parts=${parts} />
        </main>
        ${helping && html`<${Help} close=${() => setHelping(false)} />`}
        <${Question} /><${Notes} />`;
}

/** A key from before a reload is asked about first: its role decides what is shown. */
function Gate() {
    const { key, who } = useCell(session);
    const [trouble, setTrouble] = useState("");
    useEffect(() => {
        if (!key || who) return;
        let timer, over = false;
        const look = () => whoami(key).then((found) => over || signedIn(key, found), (error) => {
            if (over || error.status === 401) return;
            setTrouble(error.message);
            timer = setTimeout(look, 3000);
        });
        look();
        return () => {
            over = true;
            clearTimeout(timer);
        };
    }, [key, who]);
    if (!key) return html`<${SignIn} />`;
    if (!who) {
        return html`<main class="signin"><div>
            <p class="waiting" role="status">${trouble || "Signing in …"}</p>
            ${trouble && html`<p><button onClick=${() => signOut()}>Sign out</button></p>`}
        </div></main>`;
    }
    return html`<${Shell} />`;
}

addEventListener("unhandledrejection", ({ reason }) => {
    if (reason?.name !== "AbortError") say(String(reason?.message ?? reason), "bad");
});

render(html`<${Gate} />`, document.getElementById("console"));

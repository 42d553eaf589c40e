// The little state that pages share, how components follow it, and how what did not change stays the same object.
import { Component, useEffect, useState } from "./vendor/preact.js";

/** A value with followers. */
export function cell(value) {
    const followers = new Set();
    return {
        get value() {
            return value;
        },
        set value(next) {
            if (next === value) return;
            value = next;
            for (const follower of [...followers]) follower();
        },
        follow(follower) {
            followers.add(follower);
            return () => followers.delete(follower);
        },
    };
}

export function useCell(source) {
    const [, again] = useState(0);
    useEffect(() => source.follow(() => again((n) => n + 1)), [source]);
    return source.value;
}

/** `next`, with every part that equals the one in `before` replaced by it: what is unchanged need not be drawn again. */
export function share(before, next) {
    if (before === next || before === null || next === null) return next;
    if (typeof before !== "object" || typeof next !== "object" || Array.isArray(before) !== Array.isArray(next)) return next;
    const names = Object.keys(next);
    let same = names.length === Object.keys(before).length;
    for (const name of names) {
        next[name] = share(before[name], next[name]);
        same &&= next[name] === before[name];
    }
    return same ? before : next;
}

/** A component that is drawn again only when one of its properties is another object. */
export function memo(view) {
    return class extends Component {
        shouldComponentUpdate(next) {
            return Object.keys(next).some((name) => next[name] !== this.props[name]);
        }
        render(props) {
            return view(props);
        }
    };
}

/** The same for an entry of a long list: while the browser skips it (`content-visibility`) nothing of it is drawn. */
export function memoInView(view) {
    return class extends memo(view) {
        look = { oncontentvisibilityautostatechange: (event) => this.seen(event) };
        seen({ target, currentTarget, skipped }) {
            if (target !== currentTarget) return;
            this.skipped = skipped;
            if (!skipped) this.forceUpdate();
        }
        shouldComponentUpdate(next) {
            return !this.skipped && super.shouldComponentUpdate(next);
        }
        render(props) {
            return view(props, this.look);
        }
    };
}

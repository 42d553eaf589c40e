// Dark or light: the system's word, until somebody says otherwise here.
import { cell } from "./state.js";

const NAME = "muster.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const read = () => {
    try {
        return localStorage.getItem(NAME);
    } catch {
        return null;
    }
};

export const theme = cell(read() ?? (dark.matches ? "dark" : "light"));

const apply = () => (document.documentElement.dataset.theme = theme.value);
theme.follow(apply);
apply();
dark.addEventListener("change", () => read() ?? (theme.value = dark.matches ? "dark" : "light"));

export function toggle() {
    theme.value = theme.value === "dark" ? "light" : "dark";
    try {
        localStorage.setItem(NAME, theme.value);
    } catch {
        // Then it lasts as long as the page.
    }
}

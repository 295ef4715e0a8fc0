import { h } from "./dom";

/** The way in for who has a token but no link. */
export const tokenForm = {
  root: null as HTMLElement | null,
  show(is: boolean, use: (token: string) => void): void {
    if (is && !this.root) {
      const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true });
      const submit = (event: Event): void => {
        event.preventDefault();
        use(input.value.trim());
      };
      this.root = h(
        "form",
        { class: "token-form", onsubmit: submit },
        h("label", { for: "token" }, "Access token"),
        input,
        h("button", { type: "submit", class: "primary" }, "Enter"),
      );
      document.querySelector(".stage")?.append(this.root);
    } else if (!is && this.root) {
      this.root.remove();
      this.root = null;
    }
  },
};

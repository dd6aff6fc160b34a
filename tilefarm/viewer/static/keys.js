// Shortcuts. Single keys can be switched off on the page: people who dictate press them by accident.

/** Fields and widgets that need keys for themselves. */
const OWN = "input:not([type=checkbox]), textarea, select, [role=slider], dialog";

/**
 * @param {Record<string, () => void>} everywhere by the key
 * @param {Record<string, () => void>} onPicture the same, where the picture has the focus
 * @param {HTMLElement} picture
 * @param {HTMLInputElement} allowed a checkbox
 */
export function listen(everywhere, onPicture, picture, allowed) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const target = event.target instanceof Element ? event.target : document.body;
    const inPicture = picture.contains(target);
    const action = (inPicture && onPicture[event.key]) || (allowed.checked && !target.closest(OWN) && everywhere[event.key]);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

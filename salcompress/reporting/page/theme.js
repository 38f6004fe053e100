// Light or dark: as the system has it, until the reader chooses.
page.theme = (() => {
  const root = document.documentElement;
  const button = page.byId("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  // a page from disk may have no storage
  const stored = (value) => {
    try {
      if (value) localStorage.setItem("salcompress-theme", value);
      return localStorage.getItem("salcompress-theme");
    } catch {
      return null;
    }
  };

  function changed() {
    button.textContent = isDark() ? "Light" : "Dark";
    listeners.forEach((listener) => listener());
  }

  function toggle() {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored(root.dataset.theme);
    changed();
  }

  const earlier = stored();
  if (earlier === "dark" || earlier === "light") root.dataset.theme = earlier;
  button.addEventListener("click", toggle);
  system.addEventListener("change", changed);
  changed();
  return { isDark, toggle, onChange: (listener) => listeners.push(listener) };
})();

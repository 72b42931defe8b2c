# What an extension includes last but one: by now all that the catalogue shows has been said.
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS README_FILE LICENSE_FILE)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
endforeach()

# Slicer hands these on without quotes, as one argument each.
foreach(name HOMEPAGE DESCRIPTION ICONURL README_FILE LICENSE_FILE)
  list(LENGTH EXTENSION_${name} parts)
  if(NOT parts EQUAL 1)
    message(FATAL_ERROR "EXTENSION_${name} has a semicolon; Slicer would drop what follows it")
  endif()
endforeach()
note(generate_config done)

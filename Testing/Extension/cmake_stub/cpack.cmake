# What an extension includes last.
foreach(name README_FILE LICENSE_FILE)
  if(NOT EXISTS ${EXTENSION_${name}})
    message(FATAL_ERROR "EXTENSION_${name} does not exist: ${EXTENSION_${name}}")
  endif()
endforeach()
note(cpack ${EXTENSION_NAME})
